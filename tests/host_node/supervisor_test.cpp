// Three VMs, any command to any of them at any time, VMMs that die and hang meanwhile. A command does what it must
// or is refused as it must be; every so often every VM works; in the end memory, slots and windows in use are
// what they were.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <set>

#include "tests/host_node/node.hpp"
#include "tests/host_node/scripts.hpp"

namespace margay::host_node {
namespace {

constexpr const char* manifest =
    R"({"vms": [{"name": "a", "memory_mib": 4, "kernel": "a", "restart_limit": 1000000,
                 "hang_ms": 20},
                {"name": "b", "memory_mib": 4, "kernel": "b", "core": 1, "console": "detached",
                 "restart_limit": 1000000, "hang_ms": 20, "vmm_fallback": "other"},
                {"name": "c", "memory_mib": 6, "kernel": "a", "core": 2, "console": "detached",
                 "restart_limit": 1000000, "hang_ms": 20}],
        "on_last_vm_off": "stay", "test_exit_port": 244})";
constexpr const char* names[] = {"a", "b", "c"};
constexpr const char* modules[] = {"vmm", "other", "next"};
constexpr const char* commands[] = {"suspend", "resume", "save",        "restore", "reset",
                                    "destroy", "start",  "vmm-restart", "vmm-swap"};
using Words = std::set<std::string>;

// States that pass by themselves.
bool passes(const std::string& state) { return state == "restarting" || state == "starting"; }

// What must be done in a state that does not pass, and what must be refused.
Words must(const std::string& state) {
    if (state == "suspended") return {"resume", "destroy", "reset"};
    if (state == "frozen") return {"destroy", "reset"};
    if (state == "shut off" || state == "failed") return {"start"};
    return {};
}
Words must_not(const std::string& state) {
    if (state == "suspended") return {"suspend", "start"};
    if (state == "frozen") return {"start", "suspend", "resume", "save"};
    if (state == "shut off" || state == "failed")
        return {"destroy", "reset", "suspend", "resume", "save", "vmm-restart", "vmm-swap"};
    return {"start"};
}

class Operator {
  public:
    Operator(Node& node, std::uint64_t seed) : node_{node}, random_{seed} {}

    std::uint64_t pick(std::uint64_t count) { return random_() % count; }

    void act() {
        pause(pick(4) == 0 ? 1'000'000 : pick(100'000));
        const char* const vm = names[pick(3)];
        const std::string command = commands[pick(std::size(commands))];
        const std::string state = pick(3) == 0 ? this->state(vm) : settled(vm);
        const bool was_saved = has_saved(vm);
        const bool good = is_good(request(command, vm));
        if (passes(state)) return;
        // A guest may end while it is asked for its state, and its VMM may die: then the answer is another's.
        const bool stands = state != "running";
        if (stands && must(state).contains(command)) {
            EXPECT_TRUE(good) << state << "\n" << said();
        }
        if (stands && must_not(state).contains(command)) {
            EXPECT_FALSE(good) << state << "\n" << said();
        }
        if (command == "restore" && !was_saved) {
            EXPECT_FALSE(good) << said();
        }
    }

    // Several at once, for different VMs: each has an answer.
    void act_together() {
        std::string all;
        const std::size_t before = lines();
        unsigned count = 0;
        for (const char* vm : names)
            if (pick(2) == 0)
                all += request(commands[pick(std::size(commands))], vm) + "\n", ++count;
        node_.control.type(all);
        EXPECT_TRUE(node_.run_until([&] { return lines() >= before + count; }))
            << all << node_.control.sent.substr(node_.control.sent.size() / 2) << said();
    }

    // From whatever it is, the VM comes to run, and its guest goes on.
    void expect_works(const char* vm) {
        for (unsigned i = 0; i < 100; ++i) {
            const std::string state = settled(vm);
            if (state == "suspended") (void)is_good(request("resume", vm));
            if (state == "frozen") (void)is_good(request("reset", vm));
            if (state == "shut off" || state == "failed") (void)is_good(request("start", vm));
            const std::uint64_t exits = number(info(vm), "exits");
            pause(200'000);
            if (settled(vm) == "running" && number(info(vm), "exits") > exits) return;
        }
        ADD_FAILURE() << vm << " does not work\n" << said();
    }
    void expect_takes(const char* vm, const char* module) {
        for (unsigned i = 0; i < 100; ++i) {
            expect_works(vm);
            if (is_good(request("vmm-swap", vm, module))) return;
        }
        ADD_FAILURE() << vm << " does not take " << module << "\n" << said();
    }
    void expect_is_saved(const char* vm) {
        for (unsigned i = 0; i < 100 && !has_saved(vm); ++i)
            expect_works(vm), (void)is_good(request("save", vm));
        EXPECT_TRUE(has_saved(vm)) << said();
    }
    // What is in use when each VM is off.
    std::string at_rest() {
        for (const char* vm : names) {
            const std::string state = settled(vm);
            if (state != "shut off" && state != "failed") (void)is_good(request("destroy", vm));
            EXPECT_TRUE(!passes(settled(vm))) << said();
        }
        // What came back is cleared at leisure, and what is in hand for that is in use.
        std::string answer;
        for (unsigned equal = 0, i = 0; equal < 4 && i < 200; ++i) {
            pause(2'000'000);
            const std::string now = ask(R"({"command": "nodeinfo"})");
            equal = now == answer ? equal + 1 : 0;
            answer = now;
        }
        EXPECT_NE(answer.find("memory_used"), std::string::npos) << answer;
        return answer;
    }
    std::string said() const {
        std::string all;
        for (const std::string& s : history_) all += s + "\n";
        const std::string& log = node_.logs.sent;
        return all + log.substr(log.size() > 3000 ? log.size() - 3000 : 0);
    }

    unsigned count = 0;

  private:
    static std::string request(const std::string& command, const char* vm, const char* module) {
        return R"({"command": ")" + command + R"(", "vm": ")" + vm + '"' +
               (command == "vmm-swap" ? std::string{R"(, "module": ")"} + module + '"' : "") + "}";
    }
    std::string request(const std::string& command, const char* vm) {
        return request(command, vm, modules[pick(3)]);
    }
    std::string ask(const std::string& json) {
        ++count;
        const std::string answer = node_.command(json);
        EXPECT_FALSE(answer.empty()) << json << " has no answer\n" << said();
        history_.push_back(json + " " + answer.substr(0, 200));
        if (history_.size() > 12) history_.erase(history_.begin());
        return answer;
    }
    bool is_good(const std::string& json) {
        return ask(json).find(R"("ok":true)") != std::string::npos;
    }
    std::string info(const char* vm) {
        return ask(std::string{R"({"command": "dominfo", "vm": ")"} + vm + R"("})");
    }
    static std::string value(const std::string& answer, const std::string& key) {
        const std::size_t at = answer.find('"' + key + "\":");
        if (at == std::string::npos) return {};
        std::size_t begin = at + key.size() + 3;
        const char end = answer[begin] == '"' ? '"' : ',';
        begin += end == '"' ? 1 : 0;
        return answer.substr(begin, answer.find(end, begin) - begin);
    }
    static std::uint64_t number(const std::string& answer, const std::string& key) {
        return std::strtoull(value(answer, key).c_str(), nullptr, 10);
    }
    std::string state(const char* vm) { return value(info(vm), "state"); }
    bool has_saved(const char* vm) { return value(info(vm), "saved") == "true"; }
    std::string settled(const char* vm) {
        for (unsigned i = 0; i < 1000; ++i) {
            const std::string now = state(vm);
            if (!passes(now)) return now;
            pause(200'000);
        }
        ADD_FAILURE() << vm << " does not settle\n" << said();
        return {};
    }
    std::size_t lines() const {
        return static_cast<std::size_t>(
            std::count(node_.control.sent.begin(), node_.control.sent.end(), '\n'));
    }
    void pause(std::uint64_t ticks) {
        const std::uint64_t until = machine::now.tsc + ticks;
        node_.cores.run([&] { return machine::now.tsc >= until; });
    }

    Node& node_;
    std::mt19937_64 random_;
    std::vector<std::string> history_;
};

class Supervisor : public testing::TestWithParam<std::uint64_t> {};

TEST_P(Supervisor, AnyCommandAtAnyTime) {
    const GuestScript one = counting(200), two = every_class();
    std::mt19937_64 random{GetParam() * 99};
    unsigned deaths = 0;
    Node node{{.manifest = manifest,
               .guests = {{"a", &one}, {"b", &two}},
               .vmms = {{"vmm", "vmm"}, {"other", "vmm"}, {"next", "vmm_next"}}}};
    bool peace = true;
    node.fate = [&](const VmmMoment& m) {
        if (peace || m.replayed) return VmmFate::go_on;
        const std::uint64_t luck = random() % 1500;
        if (luck < 8) return ++deaths, VmmFate::die;
        if (luck == 8) return ++deaths, VmmFate::hang;
        // Whoever is at work then, be it a successor that attaches.
        if (luck < 12) ++deaths, blocks_left() = random() % 400 + 1;
        return VmmFate::go_on;
    };
    Operator person{node, GetParam()};
    // Everything is used once: what init keeps for good it has then.
    for (const char* vm : names) {
        for (const char* module : modules) person.expect_takes(vm, module);
        person.expect_is_saved(vm);
    }
    const std::string before = person.at_rest();
    for (unsigned round = 0; round < 3 && !HasFailure(); ++round) {
        peace = false;
        for (unsigned i = 0; i < 8 && !HasFailure(); ++i)
            if (person.pick(4) == 0)
                person.act_together();
            else
                person.act();
        peace = true;
        blocks_left() = 0;
        for (const char* vm : names) person.expect_works(vm);
    }
    EXPECT_EQ(person.at_rest(), before) << person.said();
    EXPECT_NE(node.command(R"({"command": "shutdown", "timeout": 0})"), "");
    EXPECT_TRUE(node.run()) << person.said();
    std::printf("%u commands, %u deaths\n", person.count, deaths);
}
// A longer search: HOST_NODE_SEEDS=1000 build/release/unit/unit_host_node --gtest_filter='*Supervisor*'
std::uint64_t seeds() {
    const char* const wanted = std::getenv("HOST_NODE_SEEDS");
    return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : 3;
}
INSTANTIATE_TEST_SUITE_P(Seeds, Supervisor, testing::Range<std::uint64_t>(1, seeds() + 1));

}  // namespace
}  // namespace margay::host_node
