// Services that die under a node that works: guests go on, nothing that was said or typed is lost.
#include "tests/host_node/node.hpp"
#include "tests/host_node/scripts.hpp"
#include "ukernel/object/domain.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <utility>

namespace margay::host_node {
namespace {

std::string manifest(const std::string& node = {}) {
    return R"({"vms": [{"name": "g", "memory_mib": 4, "kernel": "kernel"}], "test_exit_port": 244)" +
           (node.empty() ? "" : ", " + node) + "}";
}

bool is_of(const Thread& t, std::string_view name) { return t.domain->name == name; }

// What the guest says when nothing goes wrong.
std::string undisturbed(const GuestScript& guest) {
    Node node{{.manifest = manifest(), .guests = {{"kernel", &guest}}}};
    EXPECT_TRUE(node.run());
    return node.terminal.sent;
}

// Whether bytes of `text` came out in order and whole, each death repeating one at most: that which had gone to the UART
// and was not noted yet.
bool is_whole(const std::string& sent, const std::string& text, unsigned deaths) {
    std::size_t at = 0;
    for (const char c : sent) {
        if (at < text.size() && c == text[at])
            ++at;
        else if (at == 0 || c != text[at - 1] || deaths-- == 0)
            return false;
    }
    return at == text.size();
}

// The same for the beginning.
bool begins_with(const std::string& sent, const std::string& text, unsigned deaths) {
    for (std::size_t repeated = 0; repeated <= deaths; ++repeated)
        if (is_whole(sent.substr(0, text.size() + repeated), text, deaths)) return true;
    return false;
}

TEST(Services, WholeIsWithOneRepetitionForEachDeath) {
    EXPECT_TRUE(is_whole("abc", "abc", 0));
    EXPECT_TRUE(is_whole("abbc", "abc", 1));
    EXPECT_FALSE(is_whole("abbc", "abc", 0));
    EXPECT_FALSE(is_whole("ac", "abc", 1));
    EXPECT_FALSE(is_whole("ab", "abc", 1));
    EXPECT_FALSE(is_whole("axbc", "abc", 1));
}

// At each of its system calls, in a node of its own.
class ConsoleDeath : public testing::TestWithParam<unsigned> {};

TEST_P(ConsoleDeath, AtEverySystemCall) {
    constexpr unsigned parts = 4;
    const GuestScript guest = counting(2);
    const std::string expected = undisturbed(guest);
    unsigned at = GetParam();
    for (bool died = true; died && !HasFailure(); at += parts) {
        died = false;
        unsigned calls = 0;
        Node node{{.manifest = manifest(), .guests = {{"kernel", &guest}}}};
        node.cores.is_doomed = [&](const Thread& t) {
            if (!is_of(t, "console") || died || calls++ != at) return false;
            return died = true;
        };
        EXPECT_TRUE(node.run()) << "death at system call " << at << "\n" << node.logs.sent;
        EXPECT_TRUE(node.ended_well()) << at << "\n" << node.logs.sent;
        EXPECT_TRUE(is_whole(node.terminal.sent, expected, 1)) << at << "\n" << node.terminal.sent;
    }
    EXPECT_GT(at, 100u);
}
INSTANTIATE_TEST_SUITE_P(Part, ConsoleDeath, testing::Range(0u, 4u));

// Again and again, anywhere in its code, while the guest prints and answers what is typed, and an operator gives
// commands: everything arrives once. What a UART has given is lost if nobody lives to store it: there nobody dies.
class ConsoleDeaths : public testing::TestWithParam<unsigned> {};

TEST_P(ConsoleDeaths, Anywhere) {
    const std::string text = "Margay, a node operating system";
    const GuestScript guest = echo(text.size());
    std::string expected;
    for (const bool disturbed : {false, true}) {
        Node node{
            {.manifest = manifest(R"("on_last_vm_off": "stay")"), .guests = {{"kernel", &guest}}}};
        std::mt19937_64 random{GetParam()};
        unsigned deaths = 0;
        std::uint64_t left = 2000, taken = 0, safe = 0;
        if (disturbed)
            node.on_block([&] {
                // After more deaths in ten seconds there would be a pause.
                if (!is_of(Cores::this_thread(), "console") || deaths == 16) return;
                const std::uint64_t now = node.terminal.taken + node.control.taken;
                if (now != std::exchange(taken, now)) safe = 40;
                safe -= safe != 0;
                left -= left != 0;
                if (safe + left != 0) return;
                // Often while it starts; never twice in a row, for what it kept is taken to be the reason then.
                left = deaths % 2 == 0 ? 100 + random() % 10'000 : 30'000 + random() % 30'000;
                ++deaths;
                __builtin_trap();
            });
        constexpr std::uint64_t rounds = 500'000;
        for (std::size_t i = 0; i < text.size(); ++i) {
            ASSERT_TRUE(node.run_until([&] { return node.terminal.sent.ends_with("> "); }, rounds))
                << node.terminal.sent << "\n"
                << node.logs.sent;
            node.terminal.type(text.substr(i, 1));
            ASSERT_TRUE(
                node.run_until([&] { return !node.terminal.sent.ends_with("> "); }, rounds));
            const std::string answer =
                node.command(R"({"id": 7, "command": "dominfo", "vm": "g"})");
            EXPECT_TRUE(begins_with(answer, R"({"id":7,"ok":true,)", deaths)) << answer;
            if (HasFailure()) return;
        }
        EXPECT_TRUE(node.run_until(
            [&] { return node.logs.sent.find("guest g powered off") != std::string::npos; },
            rounds));
        node.on_block(nullptr);
        const std::string info = node.command(R"({"command": "nodeinfo"})");
        EXPECT_NE(info.find("\"console_deaths\":" + std::to_string(deaths) + ","), info.npos)
            << deaths << info;
        EXPECT_NE(node.command(R"({"command": "shutdown"})"), "");
        EXPECT_TRUE(node.run());
        EXPECT_TRUE(node.ended_well());
        if (!disturbed) expected = node.terminal.sent;
        EXPECT_TRUE(is_whole(node.terminal.sent, expected, deaths)) << node.terminal.sent;
        EXPECT_TRUE(!disturbed || deaths > 8) << deaths;
    }
}
INSTANTIATE_TEST_SUITE_P(Seeds, ConsoleDeaths, testing::Range(1u, 9u));

// What an operator does with VMs, and whether all memory, slots and windows come back.
class PmemDeath {
  public:
    explicit PmemDeath(const GuestScript& guest)
        : node{{.manifest = R"({"vms": [], "on_last_vm_off": "stay", "test_exit_port": 244})",
                .guests = {{"kernel", &guest}}}} {}

    void must(const std::string& request) {
        const std::string answer = node.command(request);
        EXPECT_NE(answer.find("\"ok\":true"), std::string::npos) << request << "\n"
                                                                 << answer << "\n"
                                                                 << node.logs.sent;
    }
    // Rests until all that came back is clean, and what else is under way is done.
    std::string in_use() {
        std::string last, now;
        for (unsigned n = 0, equal = 0; n < 200 && equal < 3; ++n) {
            const std::uint64_t until = machine::now.tsc + 2'000'000;
            node.control.type("\n");
            (void)node.run_until([&] { return machine::now.tsc >= until; });
            now = node.command(R"({"id": 1, "command": "nodeinfo"})");
            now.resize(std::min(now.find(",\"console_deaths\""), now.size()));
            equal = now == last ? equal + 1 : 0;
            last = now;
        }
        return last;
    }
    bool counts(unsigned deaths) {
        const std::string answer = node.command(R"({"id": 1, "command": "nodeinfo"})");
        const std::string wanted =
            "\"console_deaths\":0,\"pmem_deaths\":" + std::to_string(deaths) + ",\"pci_deaths\":0,";
        return answer.find(wanted) != std::string::npos;
    }
    void come_and_go() {
        must(
            R"({"id": 1, "command": "define", "config": "{\"name\": \"g\", \"memory_mib\": 4, \"kernel\": \"kernel\"}"})");
        must(R"({"id": 1, "command": "start", "vm": "g"})");
        must(R"({"id": 1, "command": "vmm-restart", "vm": "g"})");
        must(R"({"id": 1, "command": "destroy", "vm": "g"})");
        must(R"({"id": 1, "command": "undefine", "vm": "g"})");
    }
    void end() {
        must(R"({"id": 1, "command": "shutdown"})");
        EXPECT_TRUE(node.run());
        EXPECT_TRUE(node.ended_well()) << node.logs.sent;
    }

    Node node;
};

GuestScript sleeper() {
    GuestScript guest;
    guest.say("x").wait().power_off();
    return guest;
}

// At each of its system calls, from the first: it starts, and memory is given, taken back and cleared.
TEST(PmemDeaths, AtEverySystemCall) {
    const GuestScript guest = sleeper();
    unsigned at = 0;
    for (bool died = true; died && !testing::Test::HasFailure(); at += 7) {
        died = false;
        unsigned calls = 0;
        PmemDeath test{guest};
        test.node.cores.is_doomed = [&](const Thread& t) {
            if (!is_of(t, "pmem") || died || calls++ != at) return false;
            return died = true;
        };
        test.come_and_go();
        const std::string before = test.in_use();
        test.come_and_go();
        EXPECT_EQ(test.in_use(), before) << "death at system call " << at;
        test.end();
    }
    EXPECT_GT(at, 100u);
}

// Anywhere in its code, again and again: in a request before, within and after the change of its books.
class PmemDeathAnywhere : public testing::TestWithParam<unsigned> {};

TEST_P(PmemDeathAnywhere, NothingIsLost) {
    const GuestScript guest = sleeper();
    PmemDeath test{guest};
    test.come_and_go();
    const std::string before = test.in_use();
    std::mt19937_64 random{GetParam()};
    unsigned deaths = 0;
    std::uint64_t left = 100;
    test.node.on_block([&] {
        if (!is_of(Cores::this_thread(), "pmem") || deaths == 16 || --left != 0) return;
        left = 1 + random() % 5'000;
        ++deaths;
        __builtin_trap();
    });
    for (int n = 0; n < 3; ++n) test.come_and_go();
    test.node.on_block(nullptr);
    EXPECT_EQ(test.in_use(), before);
    EXPECT_GT(deaths, 8u);
    EXPECT_TRUE(test.counts(deaths)) << deaths;
    test.end();
}
INSTANTIATE_TEST_SUITE_P(Seeds, PmemDeathAnywhere, testing::Range(1u, 13u));

// The one that clears, wherever it is.
TEST(PmemDeaths, OfTheOneThatClears) {
    const GuestScript guest = sleeper();
    for (unsigned at = 0; at < 12 && !testing::Test::HasFailure(); ++at) {
        PmemDeath test{guest};
        test.come_and_go();
        const std::string before = test.in_use();
        unsigned calls = 0;
        bool died = false;
        test.node.cores.is_doomed = [&](const Thread& t) {
            if (!is_of(t, "pmem_clear") || died || calls++ != at) return false;
            return died = true;
        };
        test.come_and_go();
        EXPECT_EQ(test.in_use(), before) << at;
        EXPECT_TRUE(died) << at;
        EXPECT_TRUE(test.counts(1)) << at;
        test.end();
    }
}

// A pmem that cannot live: guests go on, there is no memory to be had meanwhile, and there is again afterwards.
TEST(PmemDeaths, OverAndOver) {
    const GuestScript guest = sleeper();
    PmemDeath test{guest};
    test.come_and_go();
    const std::string before = test.in_use();
    bool doomed = true;
    test.node.cores.is_doomed = [&](const Thread& t) { return doomed && is_of(t, "pmem"); };
    const std::string answer = test.node.command(
        R"({"id": 1, "command": "define", "config": "{\"name\": \"g\", \"memory_mib\": 4, \"kernel\": \"kernel\"}"})");
    EXPECT_NE(answer.find("out of memory"), std::string::npos) << answer;
    doomed = false;
    // Until after the pause.
    const std::uint64_t later = machine::now.tsc + 10'000'000'000;
    EXPECT_TRUE(test.node.run_until([later] { return machine::now.tsc >= later; }));
    EXPECT_NE(test.node.logs.sent.find("for 10 s there is no memory"), std::string::npos)
        << test.node.logs.sent;
    test.come_and_go();
    EXPECT_EQ(test.in_use(), before);
    test.end();
}

// Wherever it is: in its start, in a request, at once again. It is found though init waits for it, and the request is
// answered by the next one.
TEST(PmemHangs, AtEverySystemCall) {
    const GuestScript guest = sleeper();
    unsigned at = 0;
    for (bool hung = true; hung && !testing::Test::HasFailure(); at += 9) {
        hung = false;
        unsigned calls = 0;
        PmemDeath test{guest};
        test.node.cores.is_stuck = [&](const Thread& t) {
            if (!is_of(t, "pmem") || hung || calls++ != at) return false;
            return hung = true;
        };
        test.come_and_go();
        const std::string before = test.in_use();
        test.come_and_go();
        EXPECT_EQ(test.in_use(), before) << "hung at system call " << at;
        // The question asks pmem too, which may be what the hang waited for.
        const bool none = test.counts(0);
        EXPECT_TRUE(hung ? test.counts(1) : none) << at << test.node.logs.sent;
        test.end();
    }
    EXPECT_GT(at, 100u);
}

// Within its code, while its books change.
TEST(PmemHangs, Anywhere) {
    const GuestScript guest = sleeper();
    PmemDeath test{guest};
    test.come_and_go();
    const std::string before = test.in_use();
    std::mt19937_64 random{1};
    constexpr unsigned rounds = 24;
    unsigned hangs = 0;
    std::uint64_t left = 0;
    test.node.on_block([&] {
        if (!is_of(Cores::this_thread(), "pmem") || left == 0 || --left != 0) return;
        ++hangs;
        for (;;) Cores::spin();
    });
    for (unsigned n = 0; n < rounds; ++n) {
        left = 1 + random() % 10'000;
        test.come_and_go();
        // Several in a row would make a pause.
        const std::uint64_t later = machine::now.tsc + 10'000'000'000;
        EXPECT_TRUE(test.node.run_until([later] { return machine::now.tsc >= later; }));
    }
    test.node.on_block(nullptr);
    EXPECT_EQ(test.in_use(), before);
    EXPECT_GT(hangs, rounds / 2);
    EXPECT_TRUE(test.counts(hangs)) << hangs;
    test.end();
}

// One that never gets to its first request holds core 0 three times, then there is a pause.
TEST(PmemHangs, OverAndOver) {
    const GuestScript guest = sleeper();
    PmemDeath test{guest};
    test.come_and_go();
    const std::string before = test.in_use();
    bool stuck = true;
    test.node.cores.is_stuck = [&](const Thread& t) { return stuck && is_of(t, "pmem"); };
    const std::string answer = test.node.command(
        R"({"id": 1, "command": "define", "config": "{\"name\": \"g\", \"memory_mib\": 4, \"kernel\": \"kernel\"}"})");
    EXPECT_NE(answer.find("out of memory"), std::string::npos) << answer;
    stuck = false;
    const std::uint64_t later = machine::now.tsc + 10'000'000'000;
    EXPECT_TRUE(test.node.run_until([later] { return machine::now.tsc >= later; }));
    EXPECT_NE(test.node.logs.sent.find("hung and was ended; that is too often"), std::string::npos)
        << test.node.logs.sent;
    test.come_and_go();
    EXPECT_EQ(test.in_use(), before);
    EXPECT_TRUE(test.counts(3)) << test.node.logs.sent;
    test.end();
}

// The one that clears, with a piece in hand.
TEST(PmemHangs, OfTheOneThatClears) {
    const GuestScript guest = sleeper();
    unsigned found = 0;
    for (unsigned at = 0; at < 12 && !testing::Test::HasFailure(); ++at) {
        PmemDeath test{guest};
        test.come_and_go();
        const std::string before = test.in_use();
        unsigned calls = 0;
        bool hung = false;
        test.node.cores.is_stuck = [&](const Thread& t) {
            if (!is_of(t, "pmem_clear") || hung || calls++ != at) return false;
            return hung = true;
        };
        test.come_and_go();
        const std::uint64_t later = machine::now.tsc + 10'000'000'000;
        EXPECT_TRUE(test.node.run_until([later] { return machine::now.tsc >= later; }));
        EXPECT_EQ(test.in_use(), before) << at;
        EXPECT_TRUE(hung) << at;
        EXPECT_TRUE(test.counts(1)) << at << test.node.logs.sent;
        found += test.node.logs.sent.find("pmem_clear hung and was ended") != std::string::npos;
        test.end();
    }
    EXPECT_EQ(found, 12u);
}

}  // namespace
}  // namespace margay::host_node
