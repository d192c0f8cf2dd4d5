#include "servers/vmm/cpu/kvm_clock.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

namespace margay::vmm {
namespace {

class KvmClockTest : public ::testing::Test {
  protected:
    KvmClockTest() { KvmClock::reset(state, 2'000'000); }

    test::OwnSlot<KvmClockState> own;
    KvmClockState& state = own.slot.live;
    test::FakeClock clock;
    test::FakeMemory memory;
    KvmClock kvm{own.journaled(), 1'700'000'000, clock, memory};
};

TEST_F(KvmClockTest, scale_is_precise_for_many_frequencies) {
    for (const auto khz : {1'000ULL, 500'000ULL, 1'000'000ULL, 1'999'999ULL, 2'597'660ULL,
                           4'000'000ULL, 100'000'000ULL}) {
        KvmClockState scale;
        KvmClock::reset(scale, khz);
        EXPECT_GE(scale.tsc_to_system_mul, 0x8000'0000U) << khz;
        // As Linux computes the frequency from it (pvclock_tsc_khz).
        auto back = (1'000'000ULL << 32) / scale.tsc_to_system_mul;
        back = scale.tsc_shift < 0 ? back << -scale.tsc_shift : back >> scale.tsc_shift;
        EXPECT_NEAR(static_cast<double>(back), static_cast<double>(khz),
                    2.0 + static_cast<double>(khz) * 2e-9)
            << khz;
        // And a day's worth of time: within a millisecond.
        const auto tsc = khz * 1000 * 86'400;
        auto scaled = static_cast<unsigned __int128>(tsc);
        scaled = scale.tsc_shift < 0 ? scaled >> -scale.tsc_shift : scaled << scale.tsc_shift;
        const auto ns = static_cast<std::uint64_t>(scaled * scale.tsc_to_system_mul >> 32);
        EXPECT_NEAR(static_cast<double>(ns), 86'400e9, 1e6) << khz;
    }
}

TEST_F(KvmClockTest, publishes_time) {
    clock.ns = 5000;
    kvm.write_system_time(0x2000 | 1);
    EXPECT_EQ(memory.at<std::uint32_t>(0x2000), 2U);  // even: complete
    EXPECT_EQ(memory.at<std::uint64_t>(0x2008), 10'000U);
    EXPECT_EQ(memory.at<std::uint64_t>(0x2010), 5000U);
    EXPECT_EQ(memory.at<std::uint32_t>(0x2018), 0x8000'0000U);
    EXPECT_EQ(memory.at<std::int8_t>(0x201c), 0);
    EXPECT_EQ(memory.at<std::uint8_t>(0x201d), 1U);  // TSC stable
    clock.ns = 6000;
    kvm.tsc_changed();
    EXPECT_EQ(memory.at<std::uint32_t>(0x2000), 4U);
    EXPECT_EQ(memory.at<std::uint64_t>(0x2010), 6000U);
}

TEST_F(KvmClockTest, disabled_writes_nothing) {
    kvm.write_system_time(0x2000);
    kvm.tsc_changed();
    EXPECT_EQ(memory.at<std::uint32_t>(0x2000), 0U);
}

TEST_F(KvmClockTest, wall_clock) {
    kvm.write_wall_clock(0x3000);
    EXPECT_EQ(memory.at<std::uint32_t>(0x3000) & 1, 0U);
    EXPECT_NE(memory.at<std::uint32_t>(0x3000), 0U);
    EXPECT_EQ(memory.at<std::uint32_t>(0x3004), 1'700'000'000U);
    EXPECT_EQ(memory.at<std::uint32_t>(0x3008), 0U);
}

TEST_F(KvmClockTest, addresses_outside_ram_are_survived) {
    for (const auto address : {0xfff9ULL, 0x1'0001ULL, ~0ULL, 0x8000'0000'0000'0001ULL}) {
        kvm.write_system_time(address);
        kvm.write_wall_clock(address);
    }
    for (const auto byte : memory.bytes) {
        ASSERT_EQ(byte, std::byte{0});
    }
}

}  // namespace
}  // namespace margay::vmm
