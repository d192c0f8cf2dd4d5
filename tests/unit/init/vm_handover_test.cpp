// One VMM after the other: by wish, by death, with a standby.
#include "tests/unit/init/vm_life_fixture.hpp"

namespace margay::init {
namespace {

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

TEST_F(VmLifeTest, ASuccessorThatRefusesAndDiesOfTheNextExit) {
    run();
    (void)life.replace_vmm("new", 0);
    settle();
    hands.now.phase = VmmPhase::refused;
    hands.now.pending = true;
    die();
    EXPECT_EQ(hands.said, (Said{"load new", "unbind", "take over", "take back"}));
    EXPECT_EQ(life.service(), Service::serving);
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

}  // namespace
}  // namespace margay::init
