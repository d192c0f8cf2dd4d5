#include "tests/unit/init/vm_life_fixture.hpp"

#include <random>

namespace margay::init {
namespace {

TEST_F(VmLifeTest, StartsWhenItsVmmServes) {
    EXPECT_FALSE(life.start(0).is_set());
    EXPECT_EQ(life.state(), VmState::starting);
    EXPECT_EQ(life.work(), Work::waited);
    settle();
    EXPECT_EQ(hands.said, (Said{"make", "load vmm", "go", "take over"}));
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
    for (const char* at : {"make", "grow", "load", "take over", "go"}) {
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
    hands.now.phase = VmmPhase::failed;
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
        settle();
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

// Nobody waits for a burial: between its pieces the guest has the core, and what is urgent comes first.
TEST_F(VmLifeTest, ABurialIsDoneInPieces) {
    hands.grave_left = hands.pieces = 3;
    run();
    hands.now.now = 500;
    die();
    serve();
    hands.said.clear();
    hands.now.now = life.next_look();
    look();
    for (const bool last : {false, false, true}) {
        EXPECT_EQ(life.work(), Work::leisurely);
        life.do_piece(hands.now.now);
        EXPECT_EQ(hands.said.back(), last ? "bury: it died" : "bury a piece");
        EXPECT_NE(hands.has_retired, last);
    }
    EXPECT_EQ(life.work(), Work::none);
}

TEST_F(VmLifeTest, WhatABurialHasLeftIsDoneForWhoeverWaits) {
    life.end_rest();  // there is nothing to do
    EXPECT_TRUE(hands.said.empty());
    hands.grave_left = hands.pieces = 3;
    run();
    hands.now.now = 500;
    die();
    life.end_rest();  // nor is there yet
    EXPECT_TRUE(hands.has_retired || life.work() != Work::leisurely);
    serve();
    hands.now.now = life.next_look();
    look();
    life.do_piece(hands.now.now);
    EXPECT_TRUE(hands.has_retired);
    life.end_rest();
    EXPECT_FALSE(hands.has_retired);
    EXPECT_EQ(hands.said.back(), "bury: it died");
    EXPECT_EQ(life.work(), Work::none);
}

TEST_F(VmLifeTest, WhoDiesWhileTheOneBeforeIsBuriedIsReplacedAtOnce) {
    hands.grave_left = hands.pieces = 3;
    run();
    hands.now.now = 500;
    die();
    serve();
    hands.now.now = life.next_look();
    look();
    life.do_piece(hands.now.now);
    EXPECT_EQ(hands.said.back(), "bury a piece");
    hands.said.clear();
    hands.now.vmm_dead = true;
    look();
    EXPECT_EQ(hands.said, (Said{"bury: it died", "load vmm"}));
    EXPECT_EQ(life.work(), Work::urgent);
    settle();
    EXPECT_EQ(hands.said.back(), "take over");
}

// A module may be put after the VM was defined: a start counts what there is then.
TEST_F(VmLifeTest, FilesThatCameLaterAreProgressOfAStart) {
    for (const bool told : {true, false}) {
        FakeHands with;
        VmLife of{with};
        LifeLimits before = limits;
        before.watch.files = 0;
        of.configure(before, "vmm", "old");
        if (told) of.change(limits, 0);
        EXPECT_FALSE(of.start(0).is_set());
        const auto settle_it = [&] {
            while (of.work() != Work::none) of.do_piece(with.now.now);
            while (of.next_look() <= with.now.now) of.look(with.now);
        };
        settle_it();
        // 40 000 ticks of which none is without progress; 8 000 without any are the limit.
        while (with.now.now < 40'000 && !with.now.vmm_dead) {
            with.now.now = of.next_look();
            with.now.placed = with.now.now * limits.watch.files / 40'000;
            of.look(with.now);
        }
        EXPECT_EQ(with.now.vmm_dead, !told);
    }
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
              (Said{"drop", "make restored", "copy in", "load vmm", "go", "take over"}));
    serve();
    EXPECT_EQ(life.state(), VmState::running);
    EXPECT_FALSE(life.ended().is_set());
    hands.fails = "copy piece";
    (void)life.restore(0);
    settle();
    EXPECT_EQ(life.state(), VmState::failed);
    EXPECT_FALSE(hands.has_guest);
}

TEST_F(VmLifeTest, OneThingAtATime) {
    run();
    (void)life.replace_vmm("new", 0);
    EXPECT_EQ(life.save().kind, FailureKind::busy);
    EXPECT_EQ(life.suspend().kind, FailureKind::busy);
    EXPECT_EQ(life.replace_vmm("x", 0).kind, FailureKind::busy);
    EXPECT_EQ(life.start(0).kind, FailureKind::wrong_state);
    EXPECT_FALSE(life.destroy().is_set());
    EXPECT_EQ(life.ousted(), life.ticket() - 1) << "the replacement has ended so";
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

TEST_F(VmLifeTest, AVmmThatSaysThatItStartsAgainAndAgainIsFound) {
    run();
    hands.now.pending = hands.now.in_service = true;
    for (int i = 0; i < 8 && !hands.now.vmm_dead; ++i) {
        hands.now.phase = i % 2 == 0 ? VmmPhase::starting : VmmPhase::serving;
        hands.now.now = life.next_look();
        look();
    }
    EXPECT_TRUE(hands.now.vmm_dead);
}

TEST_F(VmLifeTest, TicketsFollowTheFirst) {
    life.configure(limits, "vmm", "old", 1000);
    run();
    EXPECT_EQ(life.ticket(), 1001u);
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
                ? std::vector<std::string>{"make", "grow",       "go",      "load",  "take over",
                                           "copy", "copy piece", "suspend", "resume"}[random() % 9]
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
            if (hands.has_active && s.phase == VmmPhase::starting)
                s.phase = random() % 8 == 0 ? VmmPhase::failed : VmmPhase::refused;
            break;
        case 10:
            if (hands.is_whole && random() % 8 == 0) {
                s.guest_dead = true;
                s.outcome = static_cast<VmOutcome>(random() % 4);
            }
            break;
        default:
            if (hands.has_active && s.phase == VmmPhase::starting) s.phase = VmmPhase::serving;
        }
        if (random() % 4 != 0) look();
        if (random() % 2 == 0 && life.work() != Work::none) life.do_piece(s.now);
        if (random() % 50 == 0) life.end_rest();
        ASSERT_EQ(hands.has_guest, life.is_active() || life.is_ending()) << round;
        if (!life.is_active()) {
            ASSERT_EQ(life.work(), life.is_ending() ? Work::ending : Work::none) << round;
            ASSERT_EQ(life.next_look(), ~0ull) << round;
        }
        if (!life.is_active() && !life.is_ending()) {
            ASSERT_EQ(life.task(), Task::none) << round;
            ASSERT_FALSE(hands.has_active || hands.has_next || hands.has_retired) << round;
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

// A guest that resets itself or crashes is made anew, if its policy says so and if it is not too often.
TEST_F(VmLifeTest, AGuestThatEndsBeginsAnew) {
    for (const VmOutcome outcome : {VmOutcome::reset, VmOutcome::failed}) {
        for (const bool wanted : {true, false}) {
            LifeLimits l = limits;
            l.ends = {wanted && outcome == VmOutcome::reset, wanted && outcome == VmOutcome::failed,
                      true};
            configure(l);
            const auto end = [&] {
                hands.now.outcome = outcome;
                hands.now.guest_dead = true;
                look();
                settle();
            };
            run();
            for (unsigned n = 0; wanted && n < l.restart.count; ++n) {
                end();
                EXPECT_EQ(hands.said[0], outcome == VmOutcome::reset ? "anew: it reset itself"
                                                                     : "anew: what it says");
                EXPECT_EQ(life.state(), VmState::starting);
                EXPECT_EQ(life.task(), Task::none);
                serve();
                EXPECT_EQ(life.state(), VmState::running);
                hands.said.clear();
            }
            end();
            EXPECT_EQ(life.state(), VmState::failed);
            EXPECT_FALSE(hands.has_guest);
        }
    }
}

TEST_F(VmLifeTest, EndsAreCountedWithinAWindow) {
    LifeLimits l = limits;
    l.ends.restarts_on_reset = true;
    configure(l);
    run();
    for (unsigned n = 0; n < 5 * l.restart.count; ++n) {
        pass(l.restart.window_ms * l.ticks_per_ms / 2);
        hands.now.outcome = VmOutcome::reset;
        hands.now.guest_dead = true;
        look();
        settle();
        serve();
        ASSERT_EQ(life.state(), VmState::running) << n;
    }
}

// What would only do the same again is not made anew: a guest that cannot be loaded, or that sleeps for good.
TEST_F(VmLifeTest, SomeEndsAreFinal) {
    LifeLimits l = limits;
    l.ends = {true, true, true};
    configure(l);
    run();
    hands.now.outcome = VmOutcome::halted;
    hands.now.guest_dead = true;
    look();
    EXPECT_EQ(life.state(), VmState::failed);
    EXPECT_STREQ(life.reason(), "what it says");
    EXPECT_FALSE(life.start(hands.now.now).is_set());
    settle();
    hands.now.phase = VmmPhase::failed;
    die();
    EXPECT_EQ(life.state(), VmState::failed);
    // Nor one that could not be made.
    run();
    hands.fails = "make";
    hands.now.outcome = VmOutcome::reset;
    hands.now.guest_dead = true;
    look();
    settle();
    EXPECT_EQ(life.state(), VmState::failed);
    EXPECT_STREQ(life.reason(), "no room");
}

TEST_F(VmLifeTest, AFrozenVmIsKeptOrHasFailed) {
    LifeLimits l = limits;
    l.restart.has_fallback = false;
    for (const bool keeps : {true, false}) {
        l.ends.keeps_frozen = keeps;
        configure(l);
        run();
        hands.now.pending = true;
        die();
        serve();
        hands.now.pending = true;
        die();
        EXPECT_EQ(life.state(), keeps ? VmState::frozen : VmState::failed);
        EXPECT_EQ(hands.has_guest, keeps);
        EXPECT_STREQ(life.reason(), "one exit killed every VMM it was given to");
        if (keeps) {
            EXPECT_FALSE(life.destroy().is_set());
        }
    }
}

// A standby has the core at once: until it tells something, there is nothing to look at.
TEST_F(VmLifeTest, StandbyIsNotLookedAtBeforeItServes) {
    LifeLimits l = limits;
    l.standby = true;
    configure(l);
    run();
    pass(10 * l.head_start);
    ASSERT_TRUE(life.has_standby());
    hands.now.vmm_dead = true;
    look();
    EXPECT_EQ(life.service(), Service::attaching);
    EXPECT_GT(life.next_look(), hands.now.now);
    // One that never tells anything is found all the same.
    hands.now.vmm_dead = false;
    hands.said.clear();
    pass(10 * l.watch.start);
    EXPECT_FALSE(hands.said.empty());
    EXPECT_EQ(hands.said.front(), "kill");
}

// Limits that change while it runs.
TEST_F(VmLifeTest, LimitsChange) {
    run();
    LifeLimits l = limits;
    l.standby = true;
    life.change(l, hands.now.now);
    pass(10 * l.head_start);
    EXPECT_TRUE(life.has_standby());
    l.standby = false;
    life.change(l, hands.now.now);
    EXPECT_FALSE(life.has_standby());
    EXPECT_FALSE(hands.has_next);
    pass(10 * l.head_start);
    EXPECT_FALSE(life.has_standby());
    // An exit that waits has the new limit from here on.
    hands.now.sequence = 11;
    hands.now.pending = true;
    pass(l.watch.answer / 2);
    l.watch.answer *= 4;
    life.change(l, hands.now.now);
    pass(l.watch.answer / 2);
    EXPECT_EQ(life.restarts(), 0u);
    pass(2 * l.watch.answer);
    EXPECT_EQ(life.restarts(), 1u);
}

}  // namespace
}  // namespace margay::init
