// A VM that is not there, and its life: for the tests of vm_life.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "servers/init/life/vm_life.hpp"
#include "servers/init/text.hpp"

namespace margay::init {

// A VM that does what its life tells it, unless the test says otherwise.
struct FakeHands : VmHands {
    std::vector<std::string> said;  // what was asked of it, in order
    VmSample now;
    unsigned pieces = 2;  // of a load or a copy
    unsigned left = 0, copy_left = 0, grave_left = 2, guest_left = 0, drop_left = 0;
    std::string fails;   // the call that fails
    bool waits = false;  // for devices: the guest is neither made nor dropped
    // has_guest: or a part of it. stopped: it is going.
    bool has_guest = false, is_whole = false, stopped = false;
    bool has_active = false, has_next = false, next_loaded = false, has_retired = false,
         copying = false, bound = false, suspended = false;

    bool fail(const std::string& call, Failure& why) {
        if (fails != call) return false;
        why.set(FailureKind::no_memory, "no room");
        return true;
    }
    bool begin_guest(bool restored, Failure& why) override {
        said.push_back(restored ? "make restored" : "make");
        EXPECT_FALSE(has_guest || stopped);
        has_guest = true;  // as far as it came: it is dropped even if it failed
        is_whole = false;
        guest_left = pieces;
        now.guest_dead = false;
        now.sequence = 0;
        now.pending = false;
        now.outcome = VmOutcome::running;
        return !fail("make", why);
    }
    Piece guest_piece(Failure& why) override {
        EXPECT_TRUE(has_guest && !is_whole && !stopped);
        if (fail("grow", why)) return Piece::failed;
        if (waits) return Piece::waits;
        is_whole = --guest_left == 0;
        return is_whole ? Piece::done : Piece::more;
    }
    bool start_guest(Failure& why) override {
        // Its first exit waits for the VMM, which is loaded.
        EXPECT_TRUE(is_whole && has_next && next_loaded);
        said.push_back("go");
        now.sequence = 1;
        now.pending = true;
        return !fail("go", why);
    }
    void stop_guest() override {
        EXPECT_TRUE(has_guest && !stopped);
        stopped = true;
        drop_left = pieces;
    }
    Piece drop_piece() override {
        EXPECT_TRUE(has_guest && stopped);
        EXPECT_FALSE(copying);
        has_active = has_next = has_retired = bound = suspended = is_whole = false;
        if (waits) return Piece::waits;
        if (--drop_left != 0) return Piece::more;
        said.push_back("drop");
        has_guest = stopped = false;
        return Piece::done;
    }
    void begin_load(const char* module) override {
        said.push_back(std::string{"load "} + module);
        EXPECT_TRUE(is_whole && !stopped);
        EXPECT_FALSE(has_next);
        has_next = true;
        next_loaded = false;
        left = pieces;
    }
    Piece load_piece(Failure& why) override {
        EXPECT_TRUE(has_next && !next_loaded);
        if (fail("load", why)) return Piece::failed;
        next_loaded = --left == 0;
        return next_loaded ? Piece::done : Piece::more;
    }
    void drop_next() override { has_next = false; }
    bool take_over(Failure& why) override {
        said.push_back("take over");
        EXPECT_TRUE(has_next && next_loaded);
        EXPECT_FALSE(has_active && has_retired) << "three VMMs";
        EXPECT_FALSE(copying);
        has_retired = has_retired || has_active;
        has_active = bound = true;
        has_next = false;
        now.phase = VmmPhase::starting;
        now.vmm_dead = false;
        now.placed = 0;
        return !fail("take over", why);
    }
    void take_back() override {
        said.push_back("take back");
        EXPECT_TRUE(has_active && has_retired);
        has_retired = false;
        now.phase = VmmPhase::serving;
        now.vmm_dead = false;
    }
    void unbind() override {
        said.push_back("unbind");
        EXPECT_TRUE(bound);
        bound = false;
    }
    void kill() override {
        said.push_back("kill");
        EXPECT_TRUE(has_active);
        now.vmm_dead = true;
        now.in_service = false;
    }
    void bury(const char* cause, std::uint64_t) override {
        said.push_back(cause[0] == 0 ? "bury" : std::string{"bury: "} + cause);
        has_retired = false;
        grave_left = pieces;
    }
    Piece bury_piece(const char* cause, std::uint64_t died_at) override {
        EXPECT_TRUE(has_retired);
        if (--grave_left != 0) {
            said.push_back("bury a piece");
            return Piece::more;
        }
        bury(cause, died_at);
        return Piece::done;
    }
    void freeze(const char* cause, std::uint64_t, const char* reason) override {
        said.push_back("freeze: " + std::string{cause} + ": " + reason);
        has_active = has_next = has_retired = bound = false;
    }
    bool suspend_vcpu() override {
        suspended = true;
        return fails != "suspend";
    }
    bool resume_vcpu() override {
        suspended = false;
        return fails != "resume";
    }
    bool begin_copy(bool out, Failure& why) override {
        said.push_back(out ? "copy out" : "copy in");
        if (fail("copy", why)) return false;
        EXPECT_TRUE(is_whole && !stopped && !copying);
        copying = true;
        copy_left = pieces;
        return true;
    }
    Piece copy_piece(Failure& why) override {
        EXPECT_TRUE(copying);
        if (fail("copy piece", why)) return Piece::failed;
        return --copy_left == 0 ? Piece::done : Piece::more;
    }
    void end_copy() override { copying = false; }
    void read_reason(char (&to)[104]) override { copy_text(to, "what it says"); }
    void say_begins_anew(const char* reason) override {
        said.push_back(std::string{"anew: "} + reason);
    }
    void say_ended(const char* reason, bool well) override {
        said.push_back(std::string{well ? "well: " : "ill: "} + reason);
    }
};

inline constexpr LifeLimits limits{.watch = {1000, 8000, 100},
                                   .restart = {.count = 3, .window_ms = 100, .has_fallback = true},
                                   .head_start = 50,
                                   .poll = 2,
                                   .ticks_per_ms = 100,
                                   .standby = false,
                                   .ends = {false, false, true}};

class VmLifeTest : public testing::Test {
  protected:
    VmLifeTest() { configure(limits); }
    void configure(const LifeLimits& l) { life.configure(l, "vmm", "old"); }

    void look() { life.look(hands.now); }
    // Everything that is due without time passing.
    void settle() {
        for (int i = 0; i < 100; ++i) {
            if (life.work() != Work::none)
                life.do_piece(hands.now.now);
            else if (life.next_look() <= hands.now.now)
                look();
            else
                return;
        }
        FAIL() << "it does not come to rest";
    }
    void pass(std::uint64_t ticks) {
        const std::uint64_t end = hands.now.now + ticks;
        while (life.next_look() <= end || life.work() != Work::none) {
            if (life.next_look() != ~0ull && life.next_look() > hands.now.now)
                hands.now.now = std::min(life.next_look(), end);
            if (life.next_look() > end && life.work() == Work::none) break;
            settle();
        }
        hands.now.now = end;
    }
    void serve() {
        hands.now.phase = VmmPhase::serving;
        hands.now.pending = false;
        look();
        settle();
    }
    void run() {
        EXPECT_FALSE(life.start(hands.now.now).is_set());
        settle();
        serve();
        ASSERT_EQ(life.state(), VmState::running);
        hands.now.sequence = 10;
        hands.said.clear();
    }
    void die() {
        hands.now.vmm_dead = true;
        look();
        settle();
    }
    void refuse() {
        hands.now.phase = VmmPhase::refused;
        look();
        settle();
    }
    using Said = std::vector<std::string>;

    FakeHands hands;
    VmLife life{hands};
};

}  // namespace margay::init
