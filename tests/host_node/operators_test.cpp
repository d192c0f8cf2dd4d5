// Operator commands in random order while VMMs die at random moments. Whatever happens, the guest's output
// is made of pieces of what it says when nothing happens, each where the one before it ended or where the
// VM was brought back to.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <set>

#include "tests/host_node/node.hpp"
#include "tests/host_node/scripts.hpp"

namespace margay::host_node {
namespace {

constexpr const char* manifest =
    R"({"vms": [{"name": "g", "memory_mib": 4, "kernel": "kernel", "restart_limit": 1000000,
                 "hang_ms": 20}],
        "on_last_vm_off": "stay", "test_exit_port": 244})";

std::string undisturbed(const GuestScript& guest) {
    Node node{{.manifest = manifest, .guests = {{"kernel", &guest}}}};
    EXPECT_TRUE(
        node.run_until([&] { return node.logs.sent.find("powered off") != std::string::npos; }));
    // Its last words may be still on their way.
    EXPECT_NE(node.command(R"({"command": "shutdown", "timeout": 0})"), "");
    EXPECT_TRUE(node.run());
    return node.terminal.sent;
}

// A person at the control line who knows what the guest is to say.
class Operator {
  public:
    Operator(Node& node, std::string course, std::uint64_t seed)
        : node_{node}, course_{std::move(course)}, random_{seed} {}

    std::uint64_t pick(std::uint64_t count) { return random_() % count; }

    void act() {
        wait_for(pick(4) == 0 ? 2'000'000 : pick(200'000));
        // It is about to run: the command before had its answer when it ran for the first time.
        while (ask_state() == "starting") wait_for(100'000);
        const std::string state = ask_state();
        if (state == "running" || state == "restarting")
            act_on_running();
        else if (state == "suspended")
            act_on_suspended();
        else if (state == "shut off")
            act_on_off();
        else
            FAIL() << "its state is " << state << "\n" << node_.logs.sent;
    }

    // To the guest's own end.
    void finish() {
        if (ask_state() == "suspended") good("resume");
        if (ask_state() == "shut off") settle(), good("start"), at_ = {0};
        const std::size_t mark = node_.logs.sent.size();
        EXPECT_TRUE(ask_state() == "shut off" || node_.run_until([&] {
            return node_.logs.sent.find("guest g powered off", mark) != std::string::npos;
        })) << node_.logs.sent;
        settle();
        EXPECT_TRUE(at_.count(course_.size()) != 0) << "it was not at its end";
    }

    unsigned commands = 0, restores = 0, swaps = 0;

  private:
    void act_on_running() {
        switch (pick(8)) {
        case 0:
        case 1: stop(); break;
        case 2: replace_vmm(); break;
        case 3: {
            // It is somewhere between what has been seen and what will be.
            const std::size_t before = *at_.begin();
            const bool saved = is_good("save");
            look();
            if (saved) saved_ = from(before), has_saved_ = true;
            break;
        }
        case 4:
            if (stop() && has_saved_) restore();
            break;
        case 5: bad("resume"); break;
        case 6:
            if (!stop()) break;
            if (pick(3) == 0)
                good("reset"), at_ = {0};
            else
                good("destroy");
            break;
        default: good("list"); break;
        }
    }

    // False: the guest was faster, and is off by itself.
    bool stop() {
        const bool stopped = is_good("suspend");
        if (!stopped) {
            EXPECT_EQ(ask_state(), "shut off") << last_ << "\n" << node_.logs.sent;
        }
        settle();
        return stopped;
    }

    void act_on_suspended() {
        switch (pick(6)) {
        case 0:
        case 1: good("resume"); break;
        case 2: replace_vmm(); break;
        case 3:
            if (is_good("save")) saved_ = at_, has_saved_ = true;
            break;
        case 4:
            if (has_saved_) restore();
            break;
        default: bad("suspend"); break;
        }
    }

    void act_on_off() {
        settle();
        if (has_saved_ && pick(2) == 0)
            restore();
        else
            good("start"), at_ = {0};
        bad("suspend", "resume");
    }

    void restore() {
        good("restore");
        at_ = saved_;
        ++restores;
    }
    void replace_vmm() {
        static const char* const modules[] = {"vmm", "other", "next"};
        // A VMM may die meanwhile: then the answer is an error, and the guest goes on all the same.
        if (pick(2) == 0)
            (void)is_good("vmm-restart");
        else
            swaps += is_good("vmm-swap", std::string{R"(, "module": ")"} + modules[pick(3)] + '"');
    }

    std::string tell(const std::string& command, const std::string& more = {}) {
        ++commands;
        std::string answer =
            node_.command(R"({"command": ")" + command + '"' +
                          (command == "list" ? "" : R"(, "vm": "g")") + more + "}");
        EXPECT_FALSE(answer.empty()) << command << " has no answer\n" << node_.logs.sent;
        last_ = command + ": " + answer;
        return answer;
    }
    bool is_good(const std::string& command, const std::string& more = {}) {
        return tell(command, more).find(R"("ok":true)") != std::string::npos;
    }
    void good(const std::string& command) {
        EXPECT_TRUE(is_good(command)) << last_ << "\n" << node_.logs.sent;
    }
    void bad(const std::string& command) { EXPECT_FALSE(is_good(command)) << last_; }
    // One of the two is out of place, whichever state it is in.
    void bad(const std::string& one, const std::string& other) {
        EXPECT_FALSE(is_good(one) && is_good(other) && is_good(other)) << last_;
    }
    std::string ask_state() {
        const std::string answer = tell("dominfo");
        const std::string key = R"("state":")";
        const std::size_t at = answer.find(key);
        if (at == std::string::npos) return {};
        const std::size_t begin = at + key.size();
        return answer.substr(begin, answer.find('"', begin) - begin);
    }

    void wait_for(std::uint64_t ticks) {
        const std::uint64_t until = machine::now.tsc + ticks;
        node_.cores.run([&] { return machine::now.tsc >= until; });
    }
    // The VM stands still: what it has said has arrived, and is looked at.
    void settle() {
        wait_for(100'000'000);
        look();
    }
    void look() {
        const std::string said = node_.terminal.sent.substr(seen_);
        seen_ = node_.terminal.sent.size();
        std::set<std::size_t> now;
        for (const std::size_t from : at_)
            if (course_.compare(from, said.size(), said) == 0) now.insert(from + said.size());
        EXPECT_FALSE(now.empty()) << "it said \"" << said << "\" at " << *at_.begin() << " of\n"
                                  << course_ << "\nafter " << last_ << "\n"
                                  << node_.logs.sent;
        if (now.empty()) now.insert(0);
        at_ = now;
    }
    // What was said is not all shown yet: it may be a little farther than what has been seen.
    std::set<std::size_t> from(std::size_t least) {
        std::set<std::size_t> all;
        for (std::size_t i = least; i <= std::min(*at_.rbegin() + 2000, course_.size()); ++i)
            all.insert(i);
        return all;
    }

    Node& node_;
    std::string course_;
    std::mt19937_64 random_;
    std::set<std::size_t> at_ = {0};  // where in its course the guest may be
    std::set<std::size_t> saved_;
    bool has_saved_ = false;
    std::size_t seen_ = 0;
    std::string last_;
};

class Operators : public testing::TestWithParam<std::uint64_t> {};

TEST_P(Operators, RandomCommandsAndDeaths) {
    const GuestScript guest = counting(40);
    const std::string course = undisturbed(guest);
    std::mt19937_64 random{GetParam() * 77};
    unsigned deaths = 0;
    Node node{{.manifest = manifest,
               .guests = {{"kernel", &guest}},
               .vmms = {{"vmm", "vmm"}, {"other", "vmm"}, {"next", "vmm_next"}}}};
    node.fate = [&](const VmmMoment& m) {
        if (m.after && blocks_left() != 0) {
            blocks_left() = 0;
            return VmmFate::die;
        }
        if (m.replayed) return VmmFate::go_on;
        const std::uint64_t luck = random() % 2000;
        if (luck < 20) return ++deaths, VmmFate::die;
        if (luck == 20) return ++deaths, VmmFate::hang;
        if (luck < 40 && !m.after) ++deaths, blocks_left() = random() % 100 + 1;
        return VmmFate::go_on;
    };
    Operator person{node, course, GetParam()};
    for (unsigned i = 0; i < 40 && !testing::Test::HasFailure(); ++i) person.act();
    person.finish();
    EXPECT_NE(node.command(R"({"command": "shutdown", "timeout": 0})"), "");
    EXPECT_TRUE(node.run());
    EXPECT_TRUE(node.ended_well());
    std::printf("%u commands, %u restores, %u swaps, %u deaths\n", person.commands, person.restores,
                person.swaps, deaths);
}
// A longer search: HOST_NODE_SEEDS=1000 build/release/unit/unit_host_node --gtest_filter='*Operators*'
std::uint64_t seeds() {
    const char* const wanted = std::getenv("HOST_NODE_SEEDS");
    return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : 16;
}
INSTANTIATE_TEST_SUITE_P(Seeds, Operators, testing::Range<std::uint64_t>(1, seeds() + 1));

}  // namespace
}  // namespace margay::host_node
