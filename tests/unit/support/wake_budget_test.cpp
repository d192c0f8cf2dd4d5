#include "support/wake_budget.hpp"

#include <gtest/gtest.h>

namespace margay {
namespace {

TEST(WakeBudget, AFewWakesCostNoPause) {
    WakeBudget budget{1000, 16, 200};
    for (std::uint64_t now = 5; now < 100'000; now += 70) EXPECT_EQ(budget.woken(now), 0u) << now;
}

// A client that signals whenever it is listened to: the server is awake for as many turns as the budget says.
TEST(WakeBudget, AStormIsBounded) {
    WakeBudget budget{1000, 16, 200};
    constexpr std::uint64_t turn = 5, end = 100'000;
    std::uint64_t now = 1, awake = 0;
    while (now < end) {
        now += turn;
        awake += turn;
        if (const std::uint64_t until = budget.woken(now); until != 0) {
            EXPECT_EQ(until, now + 200);
            now = until;
        }
    }
    EXPECT_LE(awake, end / 1000 * (16 + 1000 / 200 + 1) * turn);
    // Once it ends the next wake is answered at once.
    EXPECT_EQ(budget.woken(now + 1000), 0u);
}

}  // namespace
}  // namespace margay
