#include "servers/init/life/vm_life.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace margay::init {
namespace {

// A VM that does what its life tells it, unless the test says otherwise.
struct FakeHands : VmHands {
    std::vector<std::string> said;  // what was asked of it, in order
    VmSample now;
    unsigned pieces = 2;  // of a load or a copy
    unsigned left = 0, copy_left = 0;
    std::string fails;  // the call that fails
    bool has_guest = false, has_active = false, has_next = false, next_loaded = false,
         has_retired = false, copying = false, bound = false, suspended = false;

    bool fail(const std::string& call, Failure& why) {
        if (fails != call) return false;
        why.set(FailureKind::no_memory, "no room");
        return true;
    }
    bool make_guest(bool restored, Failure& why) override {
        said.push_back(restored ? "make restored" : "make");
        EXPECT_FALSE(has_guest);
        has_guest = true;  // as far as it came: it is dropped even if it failed
        now.guest_dead = false;
        now.sequence = 0;
        now.pending = false;
        now.outcome = VmOutcome::running;
        return !fail("make", why);
    }
    bool start_guest(Failure& why) override {
        EXPECT_TRUE(has_guest && has_active);
        said.push_back("go");
        now.sequence = 1;
        now.pending = true;
        return !fail("go", why);
    }
    void drop_guest() override {
        said.push_back("drop");
        EXPECT_TRUE(has_guest);
        EXPECT_FALSE(copying);
        has_guest = has_active = has_next = has_retired = bound = suspended = false;
    }
    void begin_load(const char* module) override {
        said.push_back(std::string{"load "} + module);
        EXPECT_TRUE(has_guest);
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
        EXPECT_TRUE(has_guest && !copying);
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
    void read_reason(char (&to)[104]) override { std::strcpy(to, "what it says"); }
    void say_ended(const char* reason, bool well) override {
        said.push_back(std::string{well ? "well: " : "ill: "} + reason);
    }
};

constexpr LifeLimits limits{.watch = {1000, 8000, 100},
                            .restart = {.count = 3, .window_ms = 100, .has_fallback = true},
                            .head_start = 50,
                            .poll = 2,
                            .ticks_per_ms = 100,
                            .standby = false};

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

TEST_F(VmLifeTest, StartsWhenItsVmmServes) {
    EXPECT_FALSE(life.start(0).is_set());
    EXPECT_EQ(life.state(), VmState::starting);
    EXPECT_EQ(life.work(), Work::urgent);
    settle();
    EXPECT_EQ(hands.said, (Said{"make", "load vmm", "take over", "go"}));
    EXPECT_EQ(life.state(), VmState::starting);
    EXPECT_EQ(life.task(), Task::start);
    serve();
    EXPECT_EQ(life.state(), VmState::running);
    EXPECT_EQ(life.service(), Service::serving);
    EXPECT_EQ(life.task(), Task::none);
    EXPECT_FALSE(life.ended().is_set());
    EXPECT_EQ(life.work(), Work::none);
}

TEST_F(VmLifeTest, AStartThatFailsLeavesNothing) {
    for (const char* at : {"make", "load", "take over", "go"}) {
        hands.fails = at;
        (void)life.start(0);
        settle();
        EXPECT_EQ(life.state(), VmState::failed) << at;
        EXPECT_STREQ(life.reason(), "no room") << at;
        EXPECT_EQ(life.ended().kind, FailureKind::no_memory) << at;
        EXPECT_FALSE(hands.has_guest) << at;
        EXPECT_EQ(life.next_look(), ~0ull) << at;
    }
    hands.fails.clear();
    run();
}

TEST_F(VmLifeTest, AGuestThatCannotBeLoadedIsNoFaultOfTheVmm) {
    (void)life.start(0);
    settle();
    hands.now.outcome = VmOutcome::failed;
    die();
    EXPECT_EQ(life.state(), VmState::failed);
    EXPECT_STREQ(life.reason(), "what it says");
    EXPECT_EQ(life.restarts(), 0u);
}

TEST_F(VmLifeTest, TheGuestsEnd) {
    const struct {
        VmOutcome outcome;
        VmState state;
        const char* reason;
    } cases[] = {{VmOutcome::powered_off, VmState::shut_off, "powered off"},
                 {VmOutcome::reset, VmState::failed, "it reset itself"},
                 {VmOutcome::failed, VmState::failed, "what it says"},
                 {VmOutcome::running, VmState::failed, "an exit had no handler"}};
    for (const auto& c : cases) {
        run();
        hands.now.guest_dead = true;
        hands.now.outcome = c.outcome;
        look();
        EXPECT_EQ(life.state(), c.state);
        EXPECT_STREQ(life.reason(), c.reason);
        EXPECT_FALSE(hands.has_guest);
    }
}

TEST_F(VmLifeTest, ADeadVmmIsReplacedAndReportedAfterwards) {
    run();
    hands.now.now = 500;
    die();
    EXPECT_EQ(hands.said, (Said{"load vmm", "take over"}));
    EXPECT_EQ(life.service(), Service::attaching);
    EXPECT_EQ(life.restarts(), 1u);
    hands.now.now = 530;
    serve();
    EXPECT_EQ(life.blackout(), 30u);
    EXPECT_EQ(hands.said.size(), 2u) << "the guest waits for the report";
    pass(limits.head_start);
    EXPECT_EQ(hands.said.back(), "bury: it died");
    EXPECT_FALSE(hands.has_retired);
}

TEST_F(VmLifeTest, OneExitThatKillsEveryBuildFreezesTheVm) {
    run();
    hands.now.pending = true;
    die();
    EXPECT_STREQ(life.vmm(), "vmm");
    serve();
    hands.now.pending = true;
    die();
    EXPECT_STREQ(life.vmm(), "old");
    serve();
    hands.now.pending = true;
    die();
    EXPECT_EQ(life.state(), VmState::frozen);
    EXPECT_EQ(hands.said.back(), "freeze: it died: one exit killed every VMM it was given to");
    EXPECT_TRUE(hands.has_guest);
    EXPECT_EQ(life.next_look(), ~0ull);
    // Somebody has a better build.
    EXPECT_FALSE(life.replace_vmm("new", 0).is_set());
    settle();
    EXPECT_EQ(life.state(), VmState::running);
    serve();
    EXPECT_EQ(life.task(), Task::replace) << "the answer waits for the head start";
    pass(limits.head_start);
    EXPECT_EQ(life.task(), Task::none);
    EXPECT_FALSE(life.ended().is_set());
    EXPECT_STREQ(life.vmm(), "new");
    EXPECT_STREQ(life.reason(), "");
}

TEST_F(VmLifeTest, AFrozenVmThatStaysSo) {
    configure([] {
        LifeLimits l = limits;
        l.restart.count = 0;
        return l;
    }());
    run();
    die();
    EXPECT_EQ(life.state(), VmState::frozen);
    hands.fails = "load";
    (void)life.replace_vmm("new", 0);
    settle();
    EXPECT_EQ(life.state(), VmState::frozen);
    EXPECT_STREQ(life.ended().text, "VMM new: no room");
    hands.fails.clear();
    (void)life.replace_vmm("new", 0);
    settle();
    refuse();
    EXPECT_EQ(life.state(), VmState::frozen);
    EXPECT_STREQ(life.ended().text, "VMM new refuses: what it says");
    EXPECT_FALSE(hands.has_active);
    EXPECT_FALSE(life.destroy().is_set());
    EXPECT_EQ(life.state(), VmState::shut_off);
}

TEST_F(VmLifeTest, AHangIsADeath) {
    run();
    hands.now.pending = hands.now.in_service = true;
    pass(1600);
    EXPECT_NE(std::find(hands.said.begin(), hands.said.end(), "kill"), hands.said.end());
    EXPECT_EQ(life.service(), Service::attaching);
    hands.now.in_service = false;
    serve();
    pass(limits.head_start);
    EXPECT_EQ(hands.said.back(), "bury: it did not answer an exit in time");
}

TEST_F(VmLifeTest, ReplacementWhileTheOldOneServes) {
    run();
    hands.now.pending = hands.now.in_service = true;
    EXPECT_FALSE(life.replace_vmm("new", 0).is_set());
    EXPECT_EQ(life.work(), Work::leisurely);
    settle();
    EXPECT_EQ(hands.said, (Said{"load new", "unbind"}));
    EXPECT_EQ(life.service(), Service::finishing);
    pass(20);
    EXPECT_EQ(hands.said.size(), 2u) << "its exit is not finished";
    hands.now.in_service = hands.now.pending = false;
    pass(64);
    EXPECT_EQ(hands.said.back(), "take over");
    EXPECT_EQ(life.task(), Task::replace);
    serve();
    pass(limits.head_start);
    EXPECT_EQ(life.task(), Task::none);
    EXPECT_FALSE(life.ended().is_set());
    EXPECT_STREQ(life.vmm(), "new");
    EXPECT_EQ(hands.said.back(), "bury");
    EXPECT_EQ(life.restarts(), 0u);
}

TEST_F(VmLifeTest, ASuccessorThatRefuses) {
    run();
    (void)life.replace_vmm("new", 0);
    settle();
    EXPECT_EQ(life.service(), Service::attaching);
    refuse();
    EXPECT_EQ(hands.said, (Said{"load new", "unbind", "take over", "kill", "take back"}));
    EXPECT_EQ(life.service(), Service::serving);
    EXPECT_STREQ(life.vmm(), "vmm");
    EXPECT_STREQ(life.ended().text, "VMM new refuses: what it says");
    EXPECT_EQ(life.restarts(), 0u);
}

TEST_F(VmLifeTest, ASuccessorThatDies) {
    run();
    (void)life.replace_vmm("new", 0);
    settle();
    die();
    EXPECT_STREQ(life.ended().text, "VMM new did not begin to serve");
    EXPECT_EQ(life.service(), Service::attaching);
    EXPECT_STREQ(life.vmm(), "vmm");
    serve();
    EXPECT_EQ(life.state(), VmState::running);
    pass(limits.head_start);
    EXPECT_EQ(hands.said.back(), "bury: VMM new did not begin to serve");
    EXPECT_FALSE(hands.has_retired);
}

TEST_F(VmLifeTest, ASuccessorThatCannotBeLoaded) {
    run();
    hands.fails = "load";
    (void)life.replace_vmm("new", 0);
    settle();
    EXPECT_EQ(life.service(), Service::serving);
    EXPECT_STREQ(life.ended().text, "VMM new: no room");
    EXPECT_FALSE(hands.has_next);
}

TEST_F(VmLifeTest, TheOldOneDiesWhileItsSuccessorIsOnItsWay) {
    // While the successor is loaded, and while the old one finishes.
    for (const bool finishing : {false, true}) {
        run();
        hands.now.in_service = finishing;
        (void)life.replace_vmm("new", 0);
        if (finishing) settle();
        hands.now.in_service = false;
        die();
        EXPECT_STREQ(life.vmm(), "new") << finishing;
        EXPECT_EQ(life.service(), Service::attaching);
        serve();
        pass(limits.head_start);
        EXPECT_EQ(life.task(), Task::none);
        EXPECT_FALSE(life.ended().is_set());
        (void)life.destroy();
    }
}

TEST_F(VmLifeTest, AnOldOneThatDoesNotFinishIsKilled) {
    run();
    hands.now.pending = hands.now.in_service = true;
    (void)life.replace_vmm("new", 0);
    settle();
    EXPECT_EQ(life.service(), Service::finishing);
    pass(1600);
    EXPECT_STREQ(life.vmm(), "new");
    serve();
    pass(limits.head_start);
    EXPECT_EQ(hands.said.back(), "bury: it did not finish exit 10");
}

TEST_F(VmLifeTest, SuspendIsDoneWhenItStandsStill) {
    run();
    EXPECT_FALSE(life.suspend().is_set());
    settle();
    pass(100);
    EXPECT_EQ(life.task(), Task::suspend);
    hands.now.at_rest = true;
    pass(64);
    EXPECT_EQ(life.task(), Task::none);
    EXPECT_TRUE(life.is_suspended());
    EXPECT_EQ(life.suspend().kind, FailureKind::wrong_state);
    EXPECT_FALSE(life.resume(hands.now.now).is_set());
    EXPECT_FALSE(life.is_suspended());
    EXPECT_FALSE(hands.suspended);
    EXPECT_EQ(life.resume(0).kind, FailureKind::wrong_state);
}

TEST_F(VmLifeTest, SaveComesToRestFirst) {
    run();
    EXPECT_FALSE(life.save().is_set());
    pass(20);
    EXPECT_TRUE(hands.said.empty());
    hands.now.at_rest = true;
    pass(64);
    EXPECT_EQ(hands.said, (Said{"copy out"}));
    EXPECT_EQ(life.task(), Task::none);
    EXPECT_FALSE(life.ended().is_set());
    EXPECT_FALSE(hands.suspended) << "it goes on";
    EXPECT_FALSE(hands.copying);
}

TEST_F(VmLifeTest, ASuspendedVmStaysSoWhenSaved) {
    run();
    hands.now.at_rest = true;
    (void)life.suspend();
    settle();
    (void)life.save();
    settle();
    EXPECT_EQ(hands.said, (Said{"copy out"}));
    EXPECT_TRUE(hands.suspended);
    EXPECT_TRUE(life.is_suspended());
}

TEST_F(VmLifeTest, ASaveThatFailsLetsTheGuestGoOn) {
    for (const char* at : {"copy", "copy piece"}) {
        run();
        hands.now.at_rest = true;
        hands.fails = at;
        (void)life.save();
        settle();
        EXPECT_STREQ(life.ended().text, "it cannot be saved: no room") << at;
        EXPECT_FALSE(hands.suspended) << at;
        EXPECT_FALSE(hands.copying) << at;
        hands.fails.clear();
        (void)life.destroy();
    }
}

TEST_F(VmLifeTest, NoVmmAttachesToWhatIsBeingCopied) {
    run();
    hands.now.at_rest = true;
    (void)life.save();
    look();
    EXPECT_TRUE(hands.copying);
    hands.now.vmm_dead = true;
    look();
    settle();
    EXPECT_EQ(hands.said, (Said{"copy out", "load vmm", "take over"}));
    EXPECT_FALSE(hands.copying);
    EXPECT_FALSE(life.ended().is_set());
}

TEST_F(VmLifeTest, Restore) {
    run();
    EXPECT_FALSE(life.restore(0).is_set());
    settle();
    EXPECT_EQ(hands.said,
              (Said{"drop", "make restored", "copy in", "load vmm", "take over", "go"}));
    serve();
    EXPECT_EQ(life.state(), VmState::running);
    EXPECT_FALSE(life.ended().is_set());
    hands.fails = "copy piece";
    (void)life.restore(0);
    settle();
    EXPECT_EQ(life.state(), VmState::failed);
    EXPECT_FALSE(hands.has_guest);
}

TEST_F(VmLifeTest, AStandbyTakesOverAtOnce) {
    LifeLimits l = limits;
    l.standby = true;
    configure(l);
    run();
    EXPECT_FALSE(life.has_standby());
    pass(3 * l.head_start);
    EXPECT_TRUE(life.has_standby());
    hands.said.clear();
    hands.now.vmm_dead = true;
    look();
    EXPECT_EQ(hands.said, (Said{"take over"})) << "nothing is loaded first";
    serve();
    pass(3 * l.head_start);
    EXPECT_TRUE(life.has_standby()) << "and there is another one";
    // It serves a planned replacement of the same build as well.
    hands.said.clear();
    (void)life.replace_vmm(nullptr, hands.now.now);
    settle();
    EXPECT_EQ(hands.said, (Said{"unbind", "take over"}));
}

TEST_F(VmLifeTest, AStandbyOfAnotherBuildIsNotUsed) {
    LifeLimits l = limits;
    l.standby = true;
    configure(l);
    run();
    pass(3 * l.head_start);
    hands.now.pending = true;
    die();
    serve();
    pass(3 * l.head_start);
    ASSERT_TRUE(life.has_standby());
    hands.said.clear();
    hands.now.pending = true;
    die();  // at the same exit again
    EXPECT_EQ(hands.said, (Said{"load old", "take over"}));
}

TEST_F(VmLifeTest, AStandbyThatCannotBeLoadedIsTriedAgain) {
    LifeLimits l = limits;
    l.standby = true;
    configure(l);
    run();
    hands.fails = "load";
    pass(3 * l.head_start);
    EXPECT_FALSE(life.has_standby());
    EXPECT_EQ(life.state(), VmState::running);
    hands.fails.clear();
    pass(1100 * l.ticks_per_ms);
    EXPECT_TRUE(life.has_standby());
}

TEST_F(VmLifeTest, OneThingAtATime) {
    run();
    (void)life.replace_vmm("new", 0);
    EXPECT_EQ(life.save().kind, FailureKind::busy);
    EXPECT_EQ(life.suspend().kind, FailureKind::busy);
    EXPECT_EQ(life.replace_vmm("x", 0).kind, FailureKind::busy);
    EXPECT_EQ(life.start(0).kind, FailureKind::wrong_state);
    EXPECT_FALSE(life.destroy().is_set());
    EXPECT_STREQ(life.ended().text, "it was destroyed");
    EXPECT_EQ(life.destroy().kind, FailureKind::wrong_state);
    EXPECT_EQ(life.save().kind, FailureKind::wrong_state);
    EXPECT_EQ(life.replace_vmm("x", 0).kind, FailureKind::wrong_state);
}

TEST_F(VmLifeTest, KillsForATestAreNotCounted) {
    run();
    for (int i = 0; i < 50; ++i) {
        life.kill_for_test();
        look();
        settle();
        serve();
        ASSERT_EQ(life.state(), VmState::running);
        ASSERT_STREQ(life.vmm(), "vmm");
    }
    EXPECT_EQ(life.restarts(), 50u);
}

TEST_F(VmLifeTest, AReplacementThatDiesSoonHasReplacedAllTheSame) {
    run();
    (void)life.replace_vmm("new", 0);
    settle();
    serve();
    die();
    EXPECT_EQ(life.task(), Task::none);
    EXPECT_FALSE(life.ended().is_set());
    EXPECT_STREQ(life.vmm(), "new");
    EXPECT_EQ(life.restarts(), 1u);
}

TEST_F(VmLifeTest, AGuestThatEndsSoonHadItsVmmReplacedAllTheSame) {
    run();
    (void)life.replace_vmm("new", 0);
    settle();
    serve();
    hands.now.guest_dead = true;
    hands.now.outcome = VmOutcome::powered_off;
    look();
    EXPECT_EQ(life.state(), VmState::shut_off);
    EXPECT_FALSE(life.ended().is_set());
}

// Whatever happens in whatever order: the hands are never asked for what cannot be, nothing is left when
// the VM is off, and it can be started again.
TEST_F(VmLifeTest, AnyOrder) {
    std::mt19937 random{1};
    for (int round = 0; round < 20'000; ++round) {
        LifeLimits l = limits;
        l.standby = random() % 2 == 0;
        if (!life.is_active()) configure(l);
        VmSample& s = hands.now;
        s.now += random() % 300;
        if (hands.has_active && s.phase == VmmPhase::serving && random() % 2 == 0) {
            s.sequence += random() % 3;
            s.pending = random() % 2 == 0;
            s.in_service = hands.bound && s.pending && random() % 2 == 0;
        }
        s.at_rest = hands.suspended && !s.pending;
        hands.fails =
            random() % 20 == 0
                ? std::vector<std::string>{"make", "go",         "load",    "take over",
                                           "copy", "copy piece", "suspend", "resume"}[random() % 8]
                : "";
        switch (random() % 16) {
        case 0: (void)life.start(s.now); break;
        case 1:
            if (random() % 4 == 0) (void)life.destroy();
            break;
        case 2: (void)life.suspend(); break;
        case 3: (void)life.resume(s.now); break;
        case 4: (void)life.save(); break;
        case 5:
            if (random() % 4 == 0) (void)life.restore(s.now);
            break;
        case 6: (void)life.replace_vmm(random() % 2 == 0 ? nullptr : "new", s.now); break;
        case 7: life.kill_for_test(); break;
        case 8:
            if (hands.has_active && !s.vmm_dead) {
                s.vmm_dead = true;
                s.in_service = false;
            }
            break;
        case 9:
            if (hands.has_active && s.phase == VmmPhase::starting) s.phase = VmmPhase::refused;
            break;
        case 10:
            if (hands.has_guest && random() % 8 == 0) {
                s.guest_dead = true;
                s.outcome = static_cast<VmOutcome>(random() % 4);
            }
            break;
        default:
            if (hands.has_active && s.phase == VmmPhase::starting) s.phase = VmmPhase::serving;
        }
        if (random() % 4 != 0) look();
        if (random() % 2 == 0 && life.work() != Work::none) life.do_piece(s.now);
        ASSERT_EQ(hands.has_guest, life.is_active()) << round;
        if (!life.is_active()) {
            ASSERT_EQ(life.task(), Task::none) << round;
            ASSERT_EQ(life.work(), Work::none) << round;
            ASSERT_EQ(life.next_look(), ~0ull) << round;
        }
        if (life.state() == VmState::frozen && life.task() == Task::none) {
            ASSERT_FALSE(hands.has_active || hands.has_next || hands.has_retired) << round;
        }
        ASSERT_FALSE(testing::Test::HasFailure()) << round;
    }
    hands.fails.clear();
    if (life.is_active()) (void)life.destroy();
    run();
}

}  // namespace
}  // namespace margay::init
