#include "servers/init/life/service_watch.hpp"

#include <gtest/gtest.h>

namespace margay::init {
namespace {

using Finding = ServiceFinding;

class ServiceWatchTest : public testing::Test {
  protected:
    ServiceWatchTest() { watch.begin(limit, 0); }
    Finding next(bool has_work, std::uint64_t progress) {
        now = watch.next_look();
        return watch.look({now, has_work, progress});
    }

    static constexpr std::uint64_t limit = 400;
    ServiceWatch watch;
    std::uint64_t now = 0;
};

TEST_F(ServiceWatchTest, WhoHasNothingToDoMayRest) {
    for (int i = 0; i < 100; ++i) EXPECT_EQ(next(false, 7), Finding::well);
    EXPECT_EQ(watch.next_look(), now + limit / ServiceWatch::looks);
}

TEST_F(ServiceWatchTest, WhoGoesOnMayBeBusyForEver) {
    for (std::uint64_t i = 0; i < 100; ++i) EXPECT_EQ(next(true, i), Finding::well);
}

TEST_F(ServiceWatchTest, WhoStandsIsAskedAndThenFound) {
    EXPECT_EQ(next(true, 7), Finding::well) << "it was not seen before";
    const std::uint64_t since = now;
    for (unsigned i = 1; i < ServiceWatch::looks; ++i) EXPECT_EQ(next(true, 7), Finding::stands);
    EXPECT_EQ(next(true, 7), Finding::hangs);
    EXPECT_GE(now, since + limit);
    EXPECT_EQ(watch.next_look(), ~0ull) << "it is found once";
    EXPECT_EQ(watch.look({now + 1000, true, 7}), Finding::well);
}

TEST_F(ServiceWatchTest, WhoGoesOnWhenItIsAskedDoesWell) {
    for (std::uint64_t round = 0; round < 10; ++round) {
        EXPECT_EQ(next(true, round), Finding::well);
        for (unsigned i = 1; i < ServiceWatch::looks; ++i)
            EXPECT_EQ(next(true, round), Finding::stands);
    }
}

TEST_F(ServiceWatchTest, WhatWasDoneMeanwhileCounts) {
    (void)next(true, 7);
    EXPECT_EQ(next(true, 7), Finding::stands);
    EXPECT_EQ(next(false, 7), Finding::well);
    EXPECT_EQ(next(true, 7), Finding::well) << "it is another piece of work";
    for (unsigned i = 1; i < ServiceWatch::looks; ++i) EXPECT_EQ(next(true, 7), Finding::stands);
    EXPECT_EQ(next(true, 7), Finding::hangs);
}

TEST_F(ServiceWatchTest, AMachineThatStoodStillIsLookedAtOnce) {
    (void)next(true, 7);
    now += 1000 * limit;
    EXPECT_EQ(watch.look({now, true, 7}), Finding::stands);
    EXPECT_EQ(next(true, 8), Finding::well);
}

TEST_F(ServiceWatchTest, LooksInBetweenFindNothing) {
    (void)next(true, 7);
    for (unsigned i = 0; i < 100; ++i) EXPECT_EQ(watch.look({now + 1, true, 7}), Finding::well);
    EXPECT_EQ(next(true, 7), Finding::stands);
}

TEST_F(ServiceWatchTest, AnotherProcessBeginsAnew) {
    (void)next(true, 7);
    for (unsigned i = 1; i < ServiceWatch::looks; ++i) (void)next(true, 7);
    watch.begin(limit, now);
    EXPECT_EQ(next(true, 7), Finding::well);
    EXPECT_EQ(next(true, 7), Finding::stands);
    watch.end();
    EXPECT_EQ(watch.next_look(), ~0ull);
}

}  // namespace
}  // namespace margay::init
