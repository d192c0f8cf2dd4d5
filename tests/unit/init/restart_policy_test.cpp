#include "servers/init/life/restart_policy.hpp"

#include <gtest/gtest.h>

namespace margay::init {
namespace {

using D = RestartDecision;

RestartPolicy::Death at(std::uint64_t sequence, std::uint64_t ms = 0) {
    return {sequence, true, false, ms};
}

TEST(RestartPolicy, OneExitKillsEveryBuild) {
    RestartPolicy p{{16, 10000, true}};
    EXPECT_EQ(p.vmm_died(at(7)), D::same);
    EXPECT_EQ(p.vmm_died(at(7)), D::fallback);
    EXPECT_EQ(p.vmm_died(at(7)), D::freeze);
    EXPECT_STREQ(p.reason(), "one exit killed every VMM it was given to");
}

TEST(RestartPolicy, WhereSeveralAreSuspectedEachMayBeTheCauseOnce) {
    RestartPolicy p{{16, 10000, false}};
    const RestartPolicy::Death one{7, true, false, 0, 3};
    EXPECT_EQ(p.vmm_died(one), D::same);
    EXPECT_EQ(p.vmm_died(one), D::same);
    EXPECT_EQ(p.vmm_died(one), D::same);
    EXPECT_EQ(p.vmm_died(one), D::freeze);
}

TEST(RestartPolicy, WithoutFallbackTwoDeathsFreeze) {
    RestartPolicy p{{16, 10000, false}};
    EXPECT_EQ(p.vmm_died(at(7)), D::same);
    EXPECT_EQ(p.vmm_died(at(7)), D::freeze);
}

TEST(RestartPolicy, DeathsAtDifferentExitsAreRestarted) {
    RestartPolicy p{{16, 10000, true}};
    for (std::uint64_t exit = 1; exit <= 16; ++exit) EXPECT_EQ(p.vmm_died(at(exit)), D::same);
    EXPECT_EQ(p.vmm_died(at(17)), D::freeze);
    EXPECT_STREQ(p.reason(), "its VMMs died too often");
}

TEST(RestartPolicy, TheWindowForgets) {
    RestartPolicy p{{2, 1000, false}};
    for (std::uint64_t i = 0; i < 20; ++i) EXPECT_EQ(p.vmm_died(at(i, i * 500)), D::same) << i;
}

TEST(RestartPolicy, NoLimitMeansNoRestart) {
    RestartPolicy p{{0, 1000, false}};
    EXPECT_EQ(p.vmm_died(at(1)), D::freeze);
}

TEST(RestartPolicy, IdleDeathsDoNotBlameAnExit) {
    RestartPolicy p{{16, 10000, true}};
    for (unsigned i = 0; i < 10; ++i) EXPECT_EQ(p.vmm_died({7, false, false, 0}), D::same);
    EXPECT_EQ(p.vmm_died(at(7)), D::same) << "the first at this exit";
    EXPECT_EQ(p.vmm_died(at(7)), D::fallback);
}

TEST(RestartPolicy, ARefusalIsNotTriedAgain) {
    RestartPolicy p{{16, 10000, true}};
    EXPECT_EQ(p.vmm_died({7, false, true, 0}), D::fallback);
    EXPECT_EQ(p.vmm_died({7, false, true, 0}), D::freeze);
    EXPECT_STREQ(p.reason(), "no build can read its device state");
}

TEST(RestartPolicy, TheFallbackStaysInUse) {
    RestartPolicy p{{16, 10000, true}};
    (void)p.vmm_died(at(7));
    EXPECT_EQ(p.vmm_died(at(7)), D::fallback);
    EXPECT_EQ(p.vmm_died(at(9)), D::same) << "of the fallback";
    EXPECT_EQ(p.vmm_died(at(9)), D::freeze) << "there is no third build";
}

TEST(RestartPolicy, AChoiceByHandBeginsAnew) {
    RestartPolicy p{{16, 10000, true}};
    (void)p.vmm_died(at(7));
    (void)p.vmm_died(at(7));
    p.begin_anew();
    EXPECT_EQ(p.vmm_died(at(7)), D::same);
    EXPECT_EQ(p.vmm_died(at(7)), D::fallback);
}

}  // namespace
}  // namespace margay::init
