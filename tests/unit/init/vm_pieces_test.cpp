// VMs are made and end in pieces: what may come between two of them.
#include "tests/unit/init/vm_life_fixture.hpp"

namespace margay::init {
namespace {

// Nobody's restart waits for a VM that is made or ends: both go in pieces, and whoever asked waits for the last.
TEST_F(VmLifeTest, MakingAndEndingGoInPieces) {
    hands.pieces = 3;
    EXPECT_FALSE(life.start(0).is_set());
    for (const bool whole : {false, false, true}) {
        EXPECT_EQ(life.work(), Work::waited);
        EXPECT_EQ(life.next_look(), ~0ull) << "there is nothing to look at";
        look();
        life.do_piece(0);
        EXPECT_EQ(hands.is_whole, whole);
    }
    settle();
    serve();
    hands.said.clear();
    EXPECT_FALSE(life.destroy().is_set());
    EXPECT_EQ(life.state(), VmState::shut_off);
    EXPECT_TRUE(hands.stopped) << "nothing of it runs";
    for (const bool last : {false, false, true}) {
        EXPECT_EQ(life.task(), Task::end);
        EXPECT_TRUE(life.is_ending());
        EXPECT_EQ(life.work(), Work::ending);
        look();
        life.do_piece(0);
        EXPECT_EQ(hands.has_guest, !last);
    }
    EXPECT_EQ(life.task(), Task::none);
    EXPECT_FALSE(life.ended().is_set());
    EXPECT_FALSE(life.is_ending());
    EXPECT_EQ(life.work(), Work::none);
}

// While it waits for devices there is no work, and nothing but wake() changes that.
TEST_F(VmLifeTest, MakingAndEndingMayWait) {
    EXPECT_FALSE(life.start(0).is_set());
    hands.waits = true;
    for (unsigned i = 0; i < 3; ++i) {
        EXPECT_EQ(life.work(), Work::waited);
        life.do_piece(0);
        EXPECT_EQ(life.work(), Work::none);
        look();
        EXPECT_EQ(life.work(), Work::none);
        EXPECT_EQ(life.next_look(), ~0ull);
        life.wake();
    }
    hands.waits = false;
    settle();
    serve();
    EXPECT_EQ(life.state(), VmState::running);
    EXPECT_FALSE(life.destroy().is_set());
    hands.waits = true;
    life.do_piece(0);
    EXPECT_EQ(life.work(), Work::none);
    EXPECT_TRUE(life.is_ending());
    life.end_rest();
    EXPECT_TRUE(life.is_ending()) << "whoever wants what is held does not wait either";
    EXPECT_FALSE(life.start(0).is_set()) << "it begins when it has gone";
    EXPECT_FALSE(life.destroy().is_set());
    life.wake();
    EXPECT_EQ(life.work(), Work::ending);
    hands.waits = false;
    settle();
    EXPECT_FALSE(life.is_ending());
    EXPECT_EQ(life.task(), Task::none);
    // Destroyed while its making waits.
    EXPECT_FALSE(life.start(0).is_set());
    hands.waits = true;
    life.do_piece(0);
    hands.waits = false;
    EXPECT_FALSE(life.destroy().is_set());
    settle();
    EXPECT_FALSE(hands.has_guest);
}

// With each number of pieces done: what there is goes, and it can be started again.
TEST_F(VmLifeTest, DestroyedWhileItIsMade) {
    hands.pieces = 4;
    for (const bool restored : {false, true}) {
        for (unsigned done = 0; done < 12; ++done) {
            (void)(restored ? life.restore(0) : life.start(0));
            const unsigned ticket = life.ticket();
            for (unsigned i = 0; i < done; ++i) life.do_piece(0);
            EXPECT_FALSE(life.destroy().is_set());
            EXPECT_EQ(life.ousted(), ticket) << done;
            settle();
            EXPECT_EQ(life.state(), VmState::shut_off);
            EXPECT_FALSE(hands.has_guest || hands.copying) << done;
            EXPECT_FALSE(life.ended().is_set());
        }
    }
    run();
}

// What comes while it ends waits for the end: a start, a restore, and what ends that again.
TEST_F(VmLifeTest, StartedWhileItEnds) {
    hands.pieces = 3;
    for (unsigned done = 0; done < 3; ++done) {
        for (const bool restored : {false, true}) {
            run();
            (void)life.destroy();
            for (unsigned i = 0; i < done; ++i) life.do_piece(0);
            EXPECT_FALSE((restored ? life.restore(0) : life.start(0)).is_set());
            EXPECT_EQ(life.state(), VmState::starting);
            EXPECT_TRUE(hands.said.empty()) << "not before the other one has gone";
            EXPECT_EQ(life.suspend().kind, FailureKind::wrong_state);
            EXPECT_EQ(life.save().kind, FailureKind::wrong_state);
            EXPECT_EQ(life.replace_vmm(nullptr, 0).kind, FailureKind::wrong_state);
            EXPECT_EQ(life.start(0).kind, FailureKind::wrong_state);
            settle();
            EXPECT_EQ(hands.said[0], "drop");
            EXPECT_EQ(hands.said[1], restored ? "make restored" : "make");
            serve();
            EXPECT_EQ(life.state(), VmState::running);
            (void)life.destroy();
            (void)life.start(0);
            (void)life.destroy();
            settle();
            EXPECT_EQ(life.state(), VmState::shut_off);
            EXPECT_EQ(life.task(), Task::none);
            EXPECT_FALSE(hands.has_guest);
        }
    }
}

// The guest or its VMM dies, or nothing happens for long, while the VM is made or ends: nobody is there to die.
TEST_F(VmLifeTest, DeathsAndTimeMeanNothingToAVmThatIsNotThere) {
    hands.pieces = 3;
    for (const bool ends : {false, true}) {
        for (unsigned done = 0; done < 3; ++done) {
            if (ends) {
                run();
                (void)life.destroy();
            } else {
                (void)life.start(0);
            }
            for (unsigned i = 0; i < done; ++i) life.do_piece(hands.now.now);
            hands.now.vmm_dead = hands.now.guest_dead = true;
            hands.now.now += 10 * limits.watch.start;
            hands.said.clear();
            look();
            EXPECT_TRUE(hands.said.empty());
            hands.now.vmm_dead = hands.now.guest_dead = false;
            settle();
            EXPECT_EQ(life.state(), ends ? VmState::shut_off : VmState::starting);
            EXPECT_EQ(life.restarts(), 0u);
            if (life.is_active()) {
                serve();
                EXPECT_EQ(life.state(), VmState::running);
                (void)life.destroy();
                settle();
            }
        }
    }
}

// A dead VMM whose report is due has it, though its VM ends; one without a successor goes with the VM.
TEST_F(VmLifeTest, AReportThatIsDueWhenTheVmEnds) {
    for (const bool served : {true, false}) {
        run();
        hands.now.vmm_dead = true;
        look();
        if (served) {
            settle();
            serve();
        }
        hands.said.clear();
        (void)life.destroy();
        settle();
        EXPECT_EQ(hands.said.back(), "drop");
        EXPECT_EQ(std::count(hands.said.begin(), hands.said.end(), "bury: it died"), served);
        // The next VM has nothing to do with it.
        run();
        hands.now.at_rest = true;
        (void)life.replace_vmm("new", 0);
        settle();
        serve();
        pass(limits.head_start);
        EXPECT_EQ(hands.said.back(), "bury");
        (void)life.destroy();
        settle();
    }
}

// Somebody wants at once what it holds.
TEST_F(VmLifeTest, WhatAnEndHasLeftIsDoneForWhoeverWaits) {
    hands.pieces = 5;
    run();
    (void)life.destroy();
    life.do_piece(0);
    EXPECT_TRUE(life.is_ending());
    life.end_rest();
    EXPECT_FALSE(life.is_ending() || hands.has_guest);
    EXPECT_EQ(life.task(), Task::none);
}

}  // namespace
}  // namespace margay::init
