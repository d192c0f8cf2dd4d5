// The real init, servers and VMM over the real kernel: a node that starts, VMMs that die, operators.
#include "tests/host_node/node.hpp"
#include "tests/host_node/scripts.hpp"
#include "ukernel/object/domain.hpp"

#include <gtest/gtest.h>

#include <random>

namespace margay::host_node {
namespace {

// A node with one VM, `g`. `vm`: more of its keys; `node`: more of the manifest's.
std::string manifest(const std::string& vm = {}, const std::string& node = {}) {
    return R"({"vms": [{"name": "g", "memory_mib": 4, "kernel": "kernel", "restart_limit": 1000000,
                 "on_reset": "stop", "on_crash": "stop")" +
           (vm.empty() ? "" : ", " + vm) + R"(}], "test_exit_port": 244)" +
           (node.empty() ? "" : ", " + node) + "}";
}

struct Course {
    std::string output;
    std::uint64_t exits = 0;
};

// What the guest says when nothing goes wrong, and how many exits that takes.
Course undisturbed(const GuestScript& guest) {
    Course run;
    Node node{{.manifest = manifest(), .guests = {{"kernel", &guest}}}};
    node.fate = [&](const VmmMoment& m) {
        run.exits = m.sequence;
        return VmmFate::go_on;
    };
    EXPECT_TRUE(node.run());
    EXPECT_TRUE(node.ended_well()) << node.logs.sent;
    run.output = node.terminal.sent;
    return run;
}

TEST(Node, RunsAGuestToItsEnd) {
    GuestScript guest;
    guest.say("hello\n").power_off();
    Node node{{.manifest = manifest(), .guests = {{"kernel", &guest}}}};
    EXPECT_TRUE(node.run());
    EXPECT_TRUE(node.ended_well());
    EXPECT_EQ(node.terminal.sent, "hello\n");
    EXPECT_NE(node.logs.sent.find("margay: guest g powered off after "), std::string::npos)
        << node.logs.sent;
}

TEST(Node, EveryClassOfExit) {
    const GuestScript guest = every_class();
    const Course course = undisturbed(guest);
    EXPECT_EQ(course.output.find("boot\nby a string instruction\ninterrupts\n....\nend "), 0u)
        << course.output;
    EXPECT_GT(course.exits, guest.steps());
    EXPECT_EQ(undisturbed(guest).output, course.output) << "a run is like the other";
}

TEST(Node, TypedBytesReachTheGuest) {
    const std::string text = "Margay";
    const GuestScript guest = echo(text.size());
    std::string first;
    for (const bool dies : {false, true}) {
        Node node{{.manifest = manifest(), .guests = {{"kernel", &guest}}}};
        node.fate = [&](const VmmMoment& m) {
            return dies && !m.replayed && m.after ? VmmFate::die : VmmFate::go_on;
        };
        for (std::size_t i = 0; i < text.size(); ++i) {
            const std::string expected = "> ";
            ASSERT_TRUE(node.run_until([&] { return node.terminal.sent.size() >= 3 * i + 2; }))
                << node.terminal.sent;
            node.terminal.type(text.substr(i, 1));
        }
        EXPECT_TRUE(node.run());
        EXPECT_TRUE(node.ended_well());
        EXPECT_EQ(node.terminal.sent.find("> M> a> r> g> a> y\n"), 0u) << node.terminal.sent;
        if (dies)
            EXPECT_EQ(node.terminal.sent, first);
        else
            first = node.terminal.sent;
    }
}

// Two guests on cores of their own, whose VMMs die all the time.
TEST(Node, TwoGuestsOnTwoCores) {
    const GuestScript one = counting(10), two = every_class();
    const std::string expected[] = {undisturbed(one).output, undisturbed(two).output};
    Node node{{.manifest = R"({"vms": [
                   {"name": "one", "memory_mib": 4, "kernel": "a", "core": 1,
                    "restart_limit": 1000000},
                   {"name": "two", "memory_mib": 4, "kernel": "b", "core": 2,
                    "restart_limit": 1000000, "console": "detached"}],
                   "on_last_vm_off": "stay", "test_exit_port": 244})",
               .guests = {{"a", &one}, {"b", &two}}}};
    std::mt19937_64 random{1};
    node.fate = [&](const VmmMoment& m) {
        return !m.replayed && random() % 10 == 0 ? VmmFate::die : VmmFate::go_on;
    };
    const auto is_off = [&](const char* name) {
        return node.logs.sent.find(std::string{"guest "} + name + " powered off") !=
               std::string::npos;
    };
    EXPECT_TRUE(node.run_until([&] { return is_off("one") && is_off("two"); })) << node.logs.sent;
    EXPECT_EQ(node.terminal.sent, expected[0]);
    EXPECT_NE(node.command(R"({"command": "console", "vm": "two"})"), "");
    EXPECT_TRUE(node.run_until([&] { return node.terminal.sent.ends_with(expected[1]); }))
        << node.terminal.sent;
    EXPECT_NE(node.command(R"({"command": "shutdown", "timeout": 0})"), "");
    EXPECT_TRUE(node.run());
    EXPECT_TRUE(node.ended_well());
}

// A terminal that nobody reads holds nobody up: what it does not take is dropped, with a count.
TEST(Node, NobodyReadsTheTerminal) {
    GuestScript guest;
    guest.say(std::string(12'000, 'x') + "\n").power_off();
    Node node{{.manifest = R"({"vms": [{"name": "g", "memory_mib": 4, "kernel": "kernel"}],
                               "on_last_vm_off": "stay", "test_exit_port": 244})",
               .guests = {{"kernel", &guest}}}};
    node.terminal.is_stuck = true;
    for (int n = 0; n < 3; ++n) {
        EXPECT_TRUE(node.run_until([&] {
            return node.logs.sent.find("powered off") != std::string::npos;
        })) << node.logs.sent;
        EXPECT_NE(node.command(R"({"command": "list"})"), "");
        EXPECT_NE(node.command(R"({"command": "start", "vm": "g"})"), "");
        node.logs.sent.clear();
    }
    EXPECT_EQ(node.terminal.sent, "");
    node.terminal.get_going();
    EXPECT_TRUE(node.run_until([&] {
        return node.terminal.sent.find("bytes of output were dropped") != std::string::npos;
    })) << node.terminal.sent.size();
    EXPECT_NE(node.command(R"({"command": "shutdown", "timeout": 0})"), "");
    EXPECT_TRUE(node.run());
}

// A start has as long as it makes progress with its files: what they are is known when it is started, not before.
TEST(Node, AFileThatIsPutAfterTheDefinitionMayTakeItsTime) {
    constexpr std::uint64_t start_ms = 1000, pieces = 6, ticks_per_ms = 1'000'000;
    GuestScript guest;
    guest.power_off();
    Node node{{.manifest = R"({"vms": [], "on_last_vm_off": "stay", "test_exit_port": 244})",
               .guests = {{"kernel", &guest}},
               .vmms = {{"vmm", "vmm_slow"}}}};
    const auto good = [&](const char* request) {
        const std::string answer = node.command(request);
        EXPECT_NE(answer.find("\"ok\":true"), std::string::npos) << request << answer;
    };
    good(
        R"({"command": "define", "config": "{\"name\": \"g\", \"memory_mib\": 4, \"kernel\": \"kernel\", )"
        R"(\"initrd\": \"late\", \"start_ms\": 1000}"})");
    ASSERT_TRUE(node.put_module("late", pieces * 4096));
    node.placing = start_ms * ticks_per_ms * 6 / 10;
    const std::uint64_t begin = machine::now.tsc;
    good(R"({"command": "start", "vm": "g"})");
    ASSERT_FALSE(HasFailure()) << node.logs.sent;
    EXPECT_TRUE(node.run_until([&] {
        return node.logs.sent.find("guest g powered off") != std::string::npos;
    })) << node.logs.sent;
    EXPECT_GT(machine::now.tsc - begin, 2 * start_ms * ticks_per_ms) << "it took its time";
    EXPECT_EQ(node.logs.sent.find("did not begin to serve"), std::string::npos) << node.logs.sent;
}

// The guest hears of its power button, whichever VMM is there and wherever it dies.
TEST(Node, PowerButton) {
    constexpr std::uint32_t io_apic = 0xfec0'0000;
    GuestScript guest;
    guest.write_msr(apic_base, x2apic)
        .write_msr(0x80f, 0x1ff)
        .mmio_write(io_apic, 0x22)
        .mmio_write(io_apic + 0x10, 0x8051);
    guest.out(0x602, 0x0100, 2).say("ready\n");
    for (int n = 0; n < 2; ++n)
        guest.wait().in(0x600, 2).out(0x600, 0x0100, 2).in(0x600, 2).write_msr(0x80b, 0).say("!");
    guest.say_sum().power_off();
    std::string first;
    for (const std::string_view dies : {"never", "before", "after"}) {
        Node node{{.manifest = manifest(), .guests = {{"kernel", &guest}}}};
        node.fate = [&](const VmmMoment& m) {
            const bool doomed = dies == "before" ? !m.after : dies == "after" && m.after;
            return doomed && !m.replayed ? VmmFate::die : VmmFate::go_on;
        };
        ASSERT_TRUE(node.run_until([&] { return node.terminal.sent.ends_with("ready\n"); }));
        for (const char* expected : {"ready\n!", "ready\n!!"}) {
            EXPECT_NE(node.command(R"({"command": "shutdown", "vm": "g"})").find("\"ok\":true"),
                      std::string::npos);
            EXPECT_TRUE(node.run_until([&] {
                return node.terminal.sent.find(expected) != std::string::npos;
            })) << node.terminal.sent;
        }
        EXPECT_TRUE(node.run());
        EXPECT_TRUE(node.ended_well());
        if (first.empty()) first = node.terminal.sent;
        EXPECT_EQ(node.terminal.sent, first) << dies;
    }
}

// The node ends with the last VM, but not before what was asked is answered: the reply to the end of a VM waits behind a
// long list here.
TEST(Node, TheLastRequestIsAnswered) {
    const GuestScript guest = counting(1000);
    std::string others;
    for (unsigned i = 0; i < 200; ++i)
        others += R"(, {"name": "another-one-)" + std::to_string(i) +
                  R"(", "memory_mib": 4, "kernel": "kernel", "autostart": false})";
    Node node{{.manifest = R"({"vms": [{"name": "g", "memory_mib": 4, "kernel": "kernel"})" +
                           others + R"(], "test_exit_port": 244})",
               .guests = {{"kernel", &guest}}}};
    ASSERT_TRUE(node.run_until([&] { return !node.terminal.sent.empty(); })) << node.logs.sent;
    // Whoever reads the line pauses, until the VM is gone.
    node.control.is_stuck = true;
    node.control.type(R"({"id": 1, "command": "destroy", "vm": "g"})"
                      "\n"
                      R"({"id": 2, "command": "list"})"
                      "\n");
    EXPECT_FALSE(node.run_until([] { return false; }, 4000));
    EXPECT_FALSE(node.is_off());
    node.control.get_going();
    EXPECT_TRUE(node.run());
    const auto answers = [&](const char* id) {
        return node.control.sent.find(id) != std::string::npos;
    };
    EXPECT_TRUE(answers(R"("id":1,)") && answers(R"("id":2,)")) << node.control.sent;
}

// Memory is taken from a VM piece by piece: the node that waits for its last guest waits for those too; one that is to end at once
// says so.
TEST(Node, WhoeverDestroysTheLastGuestOfANodeThatIsTurnedOffIsAnswered) {
    const GuestScript guest = counting(1000);
    for (const bool at_once : {false, true}) {
        Node node{{.manifest = R"({"vms": [{"name": "g", "memory_mib": 24, "kernel": "kernel"}],
                                   "on_last_vm_off": "stay", "test_exit_port": 244})",
                   .guests = {{"kernel", &guest}}}};
        ASSERT_TRUE(node.run_until([&] { return !node.terminal.sent.empty(); })) << node.logs.sent;
        const std::string shutdown = R"({"id": 1, "command": "shutdown")";
        const std::string destroy = R"({"id": 2, "command": "destroy", "vm": "g"})";
        node.control.type(at_once ? destroy + "\n" + shutdown + ", \"timeout\": 0}\n"
                                  : shutdown + "}\n" + destroy + "\n");
        EXPECT_TRUE(node.run());
        EXPECT_TRUE(node.ended_well());
        EXPECT_NE(node.control.sent.find(R"("id":1,"ok":true)"), std::string::npos)
            << node.control.sent;
        EXPECT_NE(node.control.sent.find(
                      at_once ? R"("id":2,"ok":false,"error":"the node is being turned off")"
                              : R"("id":2,"ok":true)"),
                  std::string::npos)
            << node.control.sent;
    }
}

TEST(Node, TheEndOfInitStopsTheKernel) {
    const GuestScript guest = counting(10);
    Node node{{.manifest = manifest(), .guests = {{"kernel", &guest}}}};
    ASSERT_TRUE(node.run_until([&] { return !node.terminal.sent.empty(); })) << node.logs.sent;
    node.cores.is_doomed = [](const Thread& t) { return t.domain->is_supervisor; };
    EXPECT_THROW(node.run(), machine::Panic);
}

// Runs the guest with a VMM that meets `fate`; the output must be as if nothing had been.
void expect_same(const GuestScript& guest, const Course& course,
                 const std::function<VmmFate(const VmmMoment&)>& fate, std::uint64_t least_deaths,
                 const std::string& vm = {}) {
    std::uint64_t deaths = 0;
    Node node{{.manifest = manifest(vm), .guests = {{"kernel", &guest}}}};
    node.fate = [&](const VmmMoment& m) {
        const VmmFate f = fate(m);
        deaths += f != VmmFate::go_on ? 1 : 0;
        return f;
    };
    ASSERT_TRUE(node.run()) << node.logs.sent.substr(
        node.logs.sent.size() > 4000 ? node.logs.sent.size() - 4000 : 0);
    EXPECT_TRUE(node.ended_well()) << node.logs.sent;
    EXPECT_EQ(node.terminal.sent, course.output);
    EXPECT_GE(deaths, least_deaths);
}

TEST(VmmDeath, BeforeEveryExit) {
    const GuestScript guest = every_class();
    const Course course = undisturbed(guest);
    expect_same(
        guest, course,
        [](const VmmMoment& m) { return !m.replayed && !m.after ? VmmFate::die : VmmFate::go_on; },
        course.exits);
}

TEST(VmmDeath, AfterEveryExit) {
    const GuestScript guest = every_class();
    const Course course = undisturbed(guest);
    expect_same(
        guest, course,
        [](const VmmMoment& m) { return !m.replayed && m.after ? VmmFate::die : VmmFate::go_on; },
        course.exits);
}

// In each exit's handling, after a number of basic blocks that differs from run to run.
class VmmDeathWithin : public testing::TestWithParam<std::uint64_t> {};

TEST_P(VmmDeathWithin, EveryExit) {
    const GuestScript guest = every_class();
    const Course course = undisturbed(guest);
    std::mt19937_64 random{GetParam()};
    expect_same(
        guest, course,
        [&](const VmmMoment& m) {
            if (m.replayed) return VmmFate::go_on;
            if (!m.after) {
                blocks_left() = random() % (random() % 8 == 0 ? 1000 : 60) + 1;
                return VmmFate::go_on;
            }
            // It has fewer blocks: then it dies behind them.
            blocks_left() = 0;
            return VmmFate::die;
        },
        0);
}
INSTANTIATE_TEST_SUITE_P(Seeds, VmmDeathWithin, testing::Range<std::uint64_t>(1, 9));

// Where it starts, attaches and takes over as well: at each of its system calls, in a node of its own. init
// gives a VMM another try unless it has died of the same exit before.
TEST(VmmDeath, AtEverySystemCall) {
    const GuestScript guest = counting(2);
    const Course course = undisturbed(guest);
    unsigned nodes = 0;
    for (bool died = true; died && !testing::Test::HasFailure(); ++nodes) {
        died = false;
        unsigned calls = 0;
        Node node{{.manifest = manifest(), .guests = {{"kernel", &guest}}}};
        node.cores.is_doomed = [&](const Thread& t) {
            if (std::string_view{t.domain->name} != "g" || died || calls++ != nodes) return false;
            return died = true;
        };
        EXPECT_TRUE(node.run()) << "death at system call " << nodes << "\n" << node.logs.sent;
        EXPECT_TRUE(node.ended_well()) << nodes << "\n" << node.logs.sent;
        EXPECT_EQ(node.terminal.sent, course.output) << nodes;
    }
    EXPECT_GT(nodes, course.exits);
}

TEST(VmmDeath, AHangIsFound) {
    const GuestScript guest = counting(20);
    const Course course = undisturbed(guest);
    for (const bool after : {false, true})
        expect_same(
            guest, course,
            [&](const VmmMoment& m) {
                const bool its_turn = m.sequence % 97 == 5 && m.after == after;
                return !m.replayed && its_turn ? VmmFate::hang : VmmFate::go_on;
            },
            2, R"("hang_ms": 20)");
}

TEST(VmmDeath, AnotherVmmTakesOver) {
    const GuestScript guest = counting(10);
    const Course course = undisturbed(guest);
    unsigned deaths = 0;
    Node node{{.manifest = manifest(R"("vmm_fallback": "old")"),
               .guests = {{"kernel", &guest}},
               .vmms = {{"vmm", "vmm"}, {"old", "vmm"}}}};
    // Exit 100 kills it, every time; the other one lives.
    node.fate = [&](const VmmMoment& m) {
        return m.sequence == 100 && !m.after && deaths < 2 ? ++deaths,
               VmmFate::die                                : VmmFate::go_on;
    };
    ASSERT_TRUE(node.run_until([&] { return deaths == 2; }));
    for (int i = 0; i < 100 && node.control.sent.find(R"("vmm":"old")") == std::string::npos; ++i)
        EXPECT_NE(node.command(R"({"id": 1, "command": "dominfo", "vm": "g"})"), "");
    EXPECT_NE(node.control.sent.find(R"("vmm":"old")"), std::string::npos) << node.control.sent;
    EXPECT_TRUE(node.run());
    EXPECT_TRUE(node.ended_well());
    EXPECT_EQ(node.terminal.sent, course.output);
}

TEST(VmmDeath, AFrozenGuestGoesOnWithAnotherVmm) {
    const GuestScript guest = counting(10);
    const Course course = undisturbed(guest);
    bool deadly = true;
    unsigned deaths = 0;
    Node node{{.manifest = manifest(),
               .guests = {{"kernel", &guest}},
               .vmms = {{"vmm", "vmm"}, {"other", "vmm"}}}};
    node.fate = [&](const VmmMoment& m) {
        if (m.sequence != 100 || !m.after || !deadly) return VmmFate::go_on;
        ++deaths;
        return VmmFate::die;
    };
    ASSERT_TRUE(
        node.run_until([&] { return node.logs.sent.find("guest g frozen") != std::string::npos; }));
    EXPECT_EQ(deaths, 2u);
    deadly = false;
    EXPECT_NE(node.command(R"({"id": 1, "command": "vmm-swap", "vm": "g", "module": "other"})")
                  .find(R"("result")"),
              std::string::npos)
        << node.control.sent;
    EXPECT_TRUE(node.run());
    EXPECT_TRUE(node.ended_well());
    EXPECT_EQ(node.terminal.sent, course.output);
}

}  // namespace
}  // namespace margay::host_node
