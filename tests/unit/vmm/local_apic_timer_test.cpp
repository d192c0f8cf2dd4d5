#include "tests/unit/vmm/local_apic_fixture.hpp"

namespace margay::vmm {
namespace {

using LocalApicTimerTest = test::LocalApicFixture;

constexpr std::uint32_t periodic = 1U << 17;
constexpr std::uint32_t deadline_mode = 2U << 17;

TEST_F(LocalApicTimerTest, one_shot) {
    clock.ns = 1000;
    write(0x32, 0xec);
    write(0x3e, 0x0b);  // by 1
    write(0x38, 5000);
    EXPECT_EQ(apic.next_deadline(), 6000U);
    clock.ns = 2000;
    EXPECT_EQ(read(0x39), 4000U);
    apic.expire(5999);
    EXPECT_EQ(apic.deliverable(), -1);
    clock.ns = 6000;
    apic.expire(6000);
    EXPECT_EQ(apic.deliverable(), 0xec);
    EXPECT_EQ(apic.next_deadline(), no_deadline);
    EXPECT_EQ(read(0x39), 0U);
    EXPECT_EQ(read(0x38), 5000U);
}

TEST_F(LocalApicTimerTest, all_divisors) {
    const std::pair<unsigned, unsigned> divisors[] = {{0, 2},  {1, 4},  {2, 8},    {3, 16},
                                                      {8, 32}, {9, 64}, {10, 128}, {11, 1}};
    for (const auto& [code, divisor] : divisors) {
        write(0x3e, code);
        write(0x38, 100);
        EXPECT_EQ(apic.next_deadline(), 100U * divisor) << code;
    }
}

TEST_F(LocalApicTimerTest, periodic_keeps_its_phase) {
    write(0x32, periodic | 0xec);
    write(0x3e, 0x0b);
    write(0x38, 1000);
    for (unsigned period = 1; period < 10; ++period) {
        EXPECT_EQ(apic.next_deadline(), period * 1000U);
        clock.ns = period * 1000 + 10;
        apic.expire(clock.ns);
        EXPECT_EQ(read(0x39), 990U);
        take(0xec);
        write(0x0b, 0);
    }
    clock.ns = 25'500;  // missed ones are one
    apic.expire(clock.ns);
    EXPECT_EQ(apic.next_deadline(), 26'000U);
    take(0xec);
    write(0x0b, 0);
    EXPECT_EQ(apic.deliverable(), -1);
}

TEST_F(LocalApicTimerTest, zero_stops) {
    write(0x38, 1000);
    write(0x38, 0);
    EXPECT_EQ(apic.next_deadline(), no_deadline);
}

TEST_F(LocalApicTimerTest, masked_expiry_is_silent) {
    write(0x3e, 0x0b);
    write(0x38, 1000);
    apic.expire(1000);
    EXPECT_EQ(apic.deliverable(), -1);
    EXPECT_EQ(apic.next_deadline(), no_deadline);
}

TEST_F(LocalApicTimerTest, tsc_deadline) {
    clock.ns = 500;  // TSC 1000
    write(0x32, deadline_mode | 0xec);
    apic.write_tsc_deadline(3000);
    EXPECT_EQ(apic.tsc_deadline(), 3000U);
    EXPECT_EQ(apic.next_deadline(), 1500U);
    apic.expire(1499);
    EXPECT_EQ(apic.deliverable(), -1);
    apic.expire(1500);
    EXPECT_EQ(apic.deliverable(), 0xec);
    EXPECT_EQ(apic.tsc_deadline(), 0U);
    EXPECT_EQ(apic.next_deadline(), no_deadline);
}

TEST_F(LocalApicTimerTest, tsc_deadline_in_the_past_fires_at_once) {
    clock.ns = 500;
    write(0x32, deadline_mode | 0xec);
    apic.write_tsc_deadline(1000);
    EXPECT_EQ(apic.deliverable(), 0xec);
}

TEST_F(LocalApicTimerTest, tsc_deadline_zero_disarms_and_far_future_does_not_wrap) {
    write(0x32, deadline_mode | 0xec);
    apic.write_tsc_deadline(~0ULL);
    EXPECT_GT(apic.next_deadline(), 1ULL << 62);
    EXPECT_EQ(apic.deliverable(), -1);
    apic.write_tsc_deadline(0);
    EXPECT_EQ(apic.next_deadline(), no_deadline);
}

TEST_F(LocalApicTimerTest, deadline_register_and_counter_exclude_each_other) {
    apic.write_tsc_deadline(3000);
    EXPECT_EQ(apic.next_deadline(), no_deadline);
    EXPECT_EQ(apic.tsc_deadline(), 0U);
    write(0x38, 1000);
    write(0x32, deadline_mode | 0xec);  // changing the mode disarms
    EXPECT_EQ(apic.next_deadline(), no_deadline);
    write(0x38, 1000);
    EXPECT_EQ(apic.next_deadline(), no_deadline);
    EXPECT_EQ(read(0x39), 0U);
}

TEST_F(LocalApicTimerTest, deadline_follows_a_tsc_jump) {
    write(0x32, deadline_mode | 0xec);
    apic.write_tsc_deadline(4000);
    EXPECT_EQ(apic.next_deadline(), 2000U);
    clock.tsc_offset = 2000;
    apic.tsc_changed();
    EXPECT_EQ(apic.next_deadline(), 1000U);
}

TEST_F(LocalApicTimerTest, a_change_of_mode_does_not_touch_the_count) {
    write(0x32, 0xec);
    write(0x3e, 0x0b);
    write(0x38, 1000);
    clock.ns = 600;
    write(0x32, periodic | 0xec);
    EXPECT_EQ(read(0x39), 400U);
    EXPECT_EQ(read(0x38), 1000U);
    clock.ns = 1300;
    apic.expire(clock.ns);
    EXPECT_EQ(read(0x39), 700U);
    write(0x32, 0xec);
    EXPECT_EQ(read(0x39), 700U);
    EXPECT_EQ(apic.next_deadline(), 2000U);
}

// The exit that says so comes later than the guest may look.
TEST_F(LocalApicTimerTest, what_has_run_out_stays_so_whatever_is_written) {
    write(0x3e, 0x0b);
    const auto run_out = [&](auto change) {
        write(0x32, 0xec);
        write(0x38, 1000);
        clock.ns += 1500;
        change();
        EXPECT_EQ(apic.deliverable(), 0xec) << "the interrupt of the one that ran out";
        take(0xec);
        write(0x0b, 0);
    };
    run_out([&] { write(0x32, periodic | 0xec); });
    EXPECT_EQ(read(0x39), 0U) << "it does not begin again";
    EXPECT_EQ(apic.next_deadline(), no_deadline);
    run_out([&] { write(0x3e, 0x0b); });
    run_out([&] { write(0x38, 500); });
    EXPECT_EQ(read(0x39), 500U);
    run_out([&] { write(0x32, deadline_mode | 0xec); });
    apic.write_tsc_deadline(clock.tsc() + 1000);
    clock.ns += 1000;
    apic.write_tsc_deadline(0);
    EXPECT_EQ(apic.deliverable(), 0xec);
    EXPECT_EQ(apic.next_deadline(), no_deadline);
}

TEST_F(LocalApicTimerTest, bad_vector_is_an_error) {
    write(0x32, 0x05);
    write(0x3e, 0x0b);
    write(0x38, 10);
    apic.expire(10);
    EXPECT_EQ(apic.deliverable(), -1);
    write(0x28, 0);
    EXPECT_EQ(read(0x28), 0x40U);
}

}  // namespace
}  // namespace margay::vmm
