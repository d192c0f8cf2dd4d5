#include "servers/init/life/vmm_watch.hpp"

#include <gtest/gtest.h>

namespace margay::init {
namespace {

constexpr WatchLimits limits{.answer = 1000, .start = 8000, .files = 100};

class VmmWatchTest : public testing::Test {
  protected:
    VmmWatchTest() { watch.begin(limits, 0); }

    // Looks whenever it is due until something is found or `until`; `waiting`: share of the time, in
    // percent, in which others have the core.
    WatchFinding run(WatchSample s, std::uint64_t until, unsigned waiting = 0) {
        while (watch.next_look() <= until) {
            waited += (watch.next_look() - now) * waiting / 100;
            now = s.now = watch.next_look();
            s.waited = waited;
            if (const WatchFinding f = watch.look(s); f != WatchFinding::well) return f;
        }
        return WatchFinding::well;
    }
    static WatchSample at_exit(std::uint64_t exit) { return {.exit = exit}; }
    static WatchSample starting(std::uint64_t placed) { return {.starts = true, .placed = placed}; }

    VmmWatch watch;
    std::uint64_t now = 0, waited = 0;
};

TEST_F(VmmWatchTest, AGuestThatDoesNotExitIsWell) {
    EXPECT_EQ(run(at_exit(0), 100'000), WatchFinding::well);
}

TEST_F(VmmWatchTest, AnExitThatIsNotAnsweredIsFoundSoon) {
    EXPECT_EQ(run(at_exit(7), 100'000), WatchFinding::exit_hangs);
    EXPECT_GE(now, limits.answer);
    EXPECT_LE(now, limits.answer * 3 / 2);
}

TEST_F(VmmWatchTest, EveryNewExitIsProgress) {
    for (std::uint64_t exit = 1; exit < 100; ++exit)
        EXPECT_EQ(run(at_exit(exit), now + limits.answer), WatchFinding::well) << exit;
}

TEST_F(VmmWatchTest, AnAnswerInBetweenBeginsAnew) {
    EXPECT_EQ(run(at_exit(7), 750), WatchFinding::well);
    EXPECT_EQ(run(at_exit(0), now + 250), WatchFinding::well);
    EXPECT_EQ(run(at_exit(7), now + 1000), WatchFinding::well);
    EXPECT_EQ(run(at_exit(7), now + 1000), WatchFinding::exit_hangs);
}

TEST_F(VmmWatchTest, TheTimeOfOthersIsNotItsTime) {
    EXPECT_EQ(run(at_exit(7), 9'000, 90), WatchFinding::well);
    EXPECT_EQ(run(at_exit(7), 20'000, 90), WatchFinding::exit_hangs);
    EXPECT_GE(now - waited, limits.answer);
}

TEST_F(VmmWatchTest, WithoutTheCoreItIsNeverBlamed) {
    EXPECT_EQ(run(at_exit(7), 1'000'000, 100), WatchFinding::well);
}

TEST_F(VmmWatchTest, AMachineThatStoodStillBlamesNobody) {
    WatchSample s = at_exit(7);
    s.now = 250;
    EXPECT_EQ(watch.look(s), WatchFinding::well);
    for (unsigned i = 1; i < VmmWatch::looks; ++i) {
        s.now += 1'000'000;
        EXPECT_EQ(watch.look(s), WatchFinding::well) << i;
    }
    s.now += 250;
    EXPECT_EQ(watch.look(s), WatchFinding::exit_hangs);
}

TEST_F(VmmWatchTest, AStartHasALimitOfItsOwn) {
    EXPECT_EQ(run(starting(0), limits.start - 1), WatchFinding::well);
    EXPECT_EQ(run(starting(0), limits.start * 3 / 2), WatchFinding::start_hangs);
}

TEST_F(VmmWatchTest, AStartThatGoesOnMayTakeLong) {
    for (std::uint64_t placed = 0; placed <= limits.files; placed += 10)
        EXPECT_EQ(run(starting(placed), now + limits.start), WatchFinding::well) << placed;
    // The files have an end.
    for (std::uint64_t placed = limits.files; placed < limits.files + 30; placed += 10)
        if (run(starting(placed), now + limits.start) == WatchFinding::start_hangs) return;
    FAIL() << "more than there is was taken for progress";
}

TEST_F(VmmWatchTest, CountingToAndFroIsNoProgress) {
    for (unsigned i = 0; i < 100; ++i) {
        WatchSample s = starting(i % 2 == 0 ? 50 : 40);
        s.now = now = watch.next_look();
        if (watch.look(s) == WatchFinding::start_hangs) return;
    }
    FAIL();
}

TEST_F(VmmWatchTest, ItsFirstExitIsNotItsStart) {
    EXPECT_EQ(run(starting(100), limits.start), WatchFinding::well);
    EXPECT_EQ(run(at_exit(1), now + 900), WatchFinding::well);
    EXPECT_EQ(run(at_exit(1), now + 1000), WatchFinding::exit_hangs);
}

TEST_F(VmmWatchTest, ItsSuccessorBeginsAnew) {
    EXPECT_EQ(run(at_exit(7), 900), WatchFinding::well);
    watch.begin(limits, now);
    EXPECT_EQ(run(at_exit(7), now + 900), WatchFinding::well);
    watch.end();
    EXPECT_EQ(watch.next_look(), ~0ull);
}

}  // namespace
}  // namespace margay::init
