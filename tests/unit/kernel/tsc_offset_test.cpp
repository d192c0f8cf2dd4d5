#include "ukernel/arch/x86_64/tsc_offset.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace margay {
namespace {

std::uint64_t nanoseconds() {
    return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

TscOffset measured(std::int64_t ahead) {
    TscExchange exchange;
    std::thread other{[&] {
        exchange.answer([&] { return nanoseconds() + static_cast<std::uint64_t>(ahead); },
                        std::this_thread::yield, ~0ull);
    }};
    const TscOffset found = exchange.measure(nanoseconds, std::this_thread::yield, 200'000'000);
    other.join();
    return found;
}

TEST(TscOffset, IsWithinTheErrorThatItNames) {
    for (const std::int64_t ahead : {0l, 5'000'000'000l, -5'000'000'000l}) {
        const TscOffset found = measured(ahead);
        ASSERT_TRUE(found.is_measured());
        EXPECT_LE(std::abs(found.offset - ahead), static_cast<std::int64_t>(found.error));
        EXPECT_EQ(found.exceeds(1000), ahead != 0) << found.offset << " within " << found.error;
    }
}

TEST(TscOffset, NobodyAnswers) {
    TscExchange exchange;
    std::uint64_t now = 0;
    const TscOffset found = exchange.measure([&] { return now += 10; }, [] {}, 1000);
    EXPECT_FALSE(found.is_measured());
    EXPECT_FALSE(found.exceeds(0));
    // Who comes late finds it ended.
    exchange.answer(
        []() -> std::uint64_t {
            ADD_FAILURE();
            return 0;
        },
        [] {}, ~0ull);
}

// The answer is given in the moment in which patience ends: the end counts.
TEST(TscOffset, AnAnswerTooLate) {
    TscExchange exchange;
    std::uint64_t now = 0;
    const auto clock = [&] { return now += 10; };
    unsigned pauses = 0;
    bool asked = false;
    const auto answer_late = [&] {
        if (asked) return;
        asked = true;
        exchange.answer(
            [&] {
                (void)exchange.measure(
                    clock, [] {}, 0);
                return now;
            },
            [&] { ++pauses; }, 10);
    };
    EXPECT_FALSE(exchange.measure(clock, answer_late, 100).is_measured());
    EXPECT_TRUE(asked);
    EXPECT_EQ(pauses, 0u);
}

TEST(TscOffset, NobodyAsks) {
    TscExchange exchange;
    unsigned turns = 0;
    exchange.answer(
        []() -> std::uint64_t {
            ADD_FAILURE();
            return 0;
        },
        [&] { ++turns; }, 100);
    EXPECT_EQ(turns, 100u);
}

TEST(TscOffset, OnlyWhatIsBeyondErrorAndBoundCounts) {
    EXPECT_FALSE((TscOffset{100, 100}.exceeds(0)));
    EXPECT_TRUE((TscOffset{-101, 100}.exceeds(0)));
    EXPECT_FALSE((TscOffset{1100, 100}.exceeds(1000)));
    EXPECT_TRUE((TscOffset{-1101, 100}.exceeds(1000)));
    EXPECT_TRUE((TscOffset{INT64_MIN, 5}.exceeds(1000)));
}

}  // namespace
}  // namespace margay
