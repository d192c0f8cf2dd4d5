#include "servers/vmm/devices/time_base.hpp"

#include <gtest/gtest.h>

namespace margay::vmm {
namespace {

TEST(TimeBase, one_gigahertz_is_the_identity) {
    const auto base = TimeBase::make(1'000'000);
    for (const auto value : {0ULL, 1ULL, 12'345ULL, 1ULL << 40, 1ULL << 62}) {
        EXPECT_EQ(base.tsc_to_ns.floor(value), value);
        EXPECT_EQ(base.tsc_to_ns.ceil(value), value);
        EXPECT_EQ(base.ns_to_tsc.floor(value), value);
    }
}

TEST(TimeBase, a_deadline_converted_to_time_is_not_before_its_count) {
    for (const auto khz : {1'000ULL, 1'193'182ULL, 2'600'111ULL, 3'999'999ULL, 100'000'000ULL}) {
        const auto base = TimeBase::make(khz);
        for (std::uint64_t tsc = 1; tsc < 1ULL << 50; tsc = tsc * 3 + 1) {
            const auto ns = base.tsc_to_ns.ceil(tsc);
            EXPECT_GE(base.ns_to_tsc.floor(ns), tsc) << khz;
            const auto exact = static_cast<unsigned __int128>(tsc) * 1'000'000 / khz;
            EXPECT_LE(ns - static_cast<std::uint64_t>(exact), 1U) << khz;
        }
    }
}

TEST(TickRate, exact_seconds_and_round_trip) {
    const auto rate = TickRate::make(1'193'182);
    EXPECT_EQ(rate.count_at(1'000'000'000), 1'193'182U);
    EXPECT_EQ(rate.ns_at(1'193'182), 1'000'000'000U);
    for (std::uint64_t tick = 1; tick < 1ULL << 32; tick = tick * 2 + 7) {
        EXPECT_EQ(rate.count_at(rate.ns_at(tick)), tick);
        EXPECT_EQ(rate.count_at(rate.ns_at(tick) - 1), tick - 1);
    }
}

}  // namespace
}  // namespace margay::vmm
