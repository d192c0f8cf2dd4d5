// VMMs that put anything into what they share with init, the console and their successors, at any moment.
// init and the node go on, another VM notices nothing, and the hostile VM itself can be ended and started.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <tuple>

#include "tests/host_node/node.hpp"
#include "tests/host_node/scripts.hpp"
#include "tests/host_node/shared_memory.hpp"
#include "ukernel/object/domain.hpp"

namespace margay::host_node {
namespace {

constexpr const char* manifest =
    R"({"vms": [{"name": "good", "memory_mib": 4, "kernel": "good", "core": 1},
                {"name": "bad", "memory_mib": 4, "kernel": "bad", "core": 2, "console": "detached",
                 "restart_limit": 1000000, "hang_ms": 20, "on_reset": "stop", "on_crash": "stop"}],
        "on_last_vm_off": "stay", "test_exit_port": 244})";

constexpr unsigned good_lines = 200;

enum class Target { control, rings, state, region, all };

GuestScript bad_guest(std::uint64_t seed) { return seed % 2 == 0 ? every_class() : counting(30); }

class HostileNode {
  public:
    explicit HostileNode(std::uint64_t seed, Target target)
        : scribbler_{seed},
          target_{target},
          good_{counting(good_lines)},
          bad_{bad_guest(seed)},
          node{{.manifest = manifest, .guests = {{"good", &good_}, {"bad", &bad_}}}} {
        node.fate = [this](const VmmMoment& m) { return moment(m); };
        node.on_block([this] { block(); });
    }

    std::string state_of(const char* vm) {
        const std::string answer =
            node.command(std::string{R"({"command": "dominfo", "vm": ")"} + vm + R"("})");
        const std::string key = R"("state":")";
        const std::size_t at = answer.find(key);
        if (at == std::string::npos) return {};
        return answer.substr(at + key.size(), answer.find('"', at + key.size()) - at - key.size());
    }
    bool is_good(const std::string& command, const char* vm) {
        last = node.command(R"({"command": ")" + command + R"(", "vm": ")" + vm + R"("})");
        return last.find(R"("ok":true)") != std::string::npos;
    }

    // Ends of what was done so far.
    unsigned scribbles = 0, deaths = 0;
    bool is_hostile = true;
    std::string last;

  private:
    VmmFate moment(const VmmMoment& m) {
        if (m.vm != "bad" || !is_hostile) return VmmFate::go_on;
        known_ = SharedMemory::of(*Cores::this_thread().domain);
        thread_ = &Cores::this_thread();
        token_ = Cores::this_token();
        if (scribbler_.pick(15) != 0) return VmmFate::go_on;
        // What it has spoiled of its own state is for its successor: it does not go on with that itself.
        const bool own = scribble(true);
        if (own || scribbler_.pick(4) == 0) {
            ++deaths;
            return scribbler_.pick(50) == 0 ? VmmFate::hang : VmmFate::die;
        }
        return VmmFate::go_on;
    }
    // While init or the console is at work, and the VMM is there: behind its end the memory is another's.
    void block() {
        if (!is_hostile || thread_ == nullptr || !Cores::is_alive(thread_, token_)) return;
        if (scribbler_.pick(10'000) != 0) return;
        (void)scribble(false);
    }
    bool scribble(bool at_exit) {
        ++scribbles;
        Target target = target_;
        if (target == Target::all) target = static_cast<Target>(scribbler_.pick(4));
        switch (target) {
        case Target::control: scribbler_.control(known_.control); return false;
        case Target::rings:
            scribbler_.ring(scribbler_.pick(2) == 0 ? known_.console : known_.log);
            return false;
        case Target::state: scribbler_.state(known_.state); return at_exit;
        default:
            if (!at_exit) return false;
            scribbler_.region(known_.region);
            return true;
        }
    }

    Scribbler scribbler_;
    Target target_;
    GuestScript good_, bad_;
    SharedMemory known_;
    const Thread* thread_ = nullptr;
    std::uint64_t token_ = 0;

  public:
    Node node;
};

std::string undisturbed(const GuestScript& guest) {
    Node node{{.manifest = R"({"vms": [{"name": "g", "memory_mib": 4, "kernel": "k", "core": 1,
                                         "on_reset": "stop", "on_crash": "stop"}],
                               "test_exit_port": 244})",
               .guests = {{"k", &guest}}}};
    EXPECT_TRUE(node.run());
    return node.terminal.sent;
}

class Hostile : public testing::TestWithParam<std::tuple<Target, std::uint64_t>> {};

TEST_P(Hostile, NobodyElseNotices) {
    const auto [target, seed] = GetParam();
    static const std::string expected = undisturbed(counting(good_lines));
    const std::uint64_t mixed = seed * 5 + static_cast<std::uint64_t>(target);
    const std::string expected_of_bad = undisturbed(bad_guest(mixed));
    HostileNode h{mixed, target};
    // The hostile VM is begun anew whenever it has come to an end, as long as the other one works.
    const auto other_is_off = [&] {
        return h.node.logs.sent.find("guest good powered off") != std::string::npos;
    };
    unsigned starts = 0;
    // Goes on until it has done something.
    for (unsigned turns = 0; (!other_is_off() || starts < 2 || h.scribbles <= 3) && turns < 500;
         ++turns) {
        const std::uint64_t until = machine::now.tsc + 500'000;
        ASSERT_TRUE(h.node.run_until([&] { return machine::now.tsc >= until; }))
            << h.node.logs.sent;
        const std::string state = h.state_of("bad");
        EXPECT_NE(state, "") << h.node.logs.sent;
        if (state == "shut off" || state == "failed") {
            // Its VMM may ruin the region before the answer is given.
            EXPECT_TRUE(h.is_good("start", "bad") ||
                        h.last.find("no build can read its device state") != std::string::npos)
                << h.last;
            ++starts;
        } else if (state == "frozen") {
            EXPECT_TRUE(h.is_good("destroy", "bad")) << h.last;
        }
    }
    EXPECT_TRUE(h.node.run_until(other_is_off)) << h.node.logs.sent;
    EXPECT_EQ(h.node.terminal.sent, expected);
    EXPECT_GT(h.scribbles, 3u);

    // It works again as soon as it wants to.
    h.is_hostile = false;
    (void)h.is_good("destroy", "bad");
    EXPECT_TRUE(h.is_good("console", "bad"));
    const std::size_t mark = h.node.terminal.sent.size(), said = h.node.logs.sent.size();
    EXPECT_TRUE(h.is_good("start", "bad")) << h.last;
    EXPECT_TRUE(h.node.run_until([&] {
        return h.node.logs.sent.find("guest bad powered off", said) != std::string::npos;
    })) << h.node.logs.sent.substr(said);
    // The console is behind.
    EXPECT_TRUE(h.node.run_until([&] { return h.node.terminal.sent.ends_with(expected_of_bad); }))
        << h.node.terminal.sent.substr(mark);
    EXPECT_NE(h.node.command(R"({"command": "shutdown", "timeout": 0})"), "");
    EXPECT_TRUE(h.node.run());
    EXPECT_TRUE(h.node.ended_well());
    std::printf("%u scribbles, %u deaths, %u starts\n", h.scribbles, h.deaths, starts);
}

// A longer search: HOST_NODE_SEEDS=1000 build/release/unit/unit_host_node --gtest_filter='*Hostile*'
std::uint64_t seeds() {
    const char* const wanted = std::getenv("HOST_NODE_SEEDS");
    return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : 2;
}
INSTANTIATE_TEST_SUITE_P(Seeds, Hostile,
                         testing::Combine(testing::Values(Target::control, Target::rings,
                                                          Target::state, Target::region,
                                                          Target::all),
                                          testing::Range<std::uint64_t>(1, seeds() + 1)));

// One store into the head of a ring, and the VMM is gone.
TEST(HostileOnce, AHeadBeyondTheRingGivesARingsWorth) {
    GuestScript guest;
    guest.say("x").say("y").power_off();
    Node node{{.manifest = R"({"vms": [{"name": "g", "memory_mib": 4, "kernel": "k",
                                        "restart_limit": 1}], "test_exit_port": 244})",
               .guests = {{"k", &guest}}}};
    unsigned exits = 0;
    node.fate = [&](const VmmMoment&) {
        if (++exits != 3) return VmmFate::go_on;
        const SharedMemory shared = SharedMemory::of(*Cores::this_thread().domain);
        for (const auto channel : {shared.console, shared.log})
            *reinterpret_cast<std::uint32_t*>(channel.data()) += 0x8000'0000;
        return VmmFate::die;
    };
    EXPECT_TRUE(node.run()) << "the node is kept busy";
    EXPECT_TRUE(node.ended_well()) << node.logs.sent;
    EXPECT_LE(node.terminal.sent.size(), 16384u + 16);
    // Lines of a server: 160 characters each, and their ends.
    EXPECT_LE(node.logs.sent.size(), 16384u + 16384 / 160 * 2 + 5000);
}

// A text without end where the VMM says why its guest has ended; every byte behind it is one of the text.
TEST(HostileOnce, AReasonWithoutEndIsCut) {
    GuestScript guest;
    guest.say("x").triple_fault();
    Node node{{.manifest = R"({"vms": [{"name": "g", "memory_mib": 4, "kernel": "k",
                                         "on_reset": "stop", "on_crash": "stop"}],
                               "on_last_vm_off": "stay", "test_exit_port": 244})",
               .guests = {{"k", &guest}}}};
    node.fate = [&](const VmmMoment&) {
        const SharedMemory shared = SharedMemory::of(*Cores::this_thread().domain);
        auto& control = *reinterpret_cast<VmControl*>(shared.control.data());
        if (control.outcome.load() == VmOutcome::failed)
            std::memset(static_cast<void*>(&control.exits), 'X', page_size - 8);
        return VmmFate::go_on;
    };
    ASSERT_TRUE(node.run_until([&] {
        return node.logs.sent.find("guest g failed: XXX") != std::string::npos;
    })) << node.logs.sent;
    const std::size_t at = node.logs.sent.find("XXX");
    EXPECT_TRUE(node.run_until(
        [&] { return node.logs.sent.find_first_not_of('X', at) != std::string::npos; }));
    EXPECT_LE(node.logs.sent.find_first_not_of('X', at) - at, 104u);
    EXPECT_NE(node.command(R"({"command": "list"})").find("failed"), std::string::npos);
}

}  // namespace
}  // namespace margay::host_node
