#include "servers/vmm/devices/acpi_pm.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

namespace margay::vmm {
namespace {

class AcpiPmTest : public ::testing::Test {
  protected:
    AcpiPmTest() { AcpiPm::reset(state); }

    test::OwnSlot<AcpiPmState> own;
    AcpiPmState& state = own.slot.live;
    test::FakeClock clock;
    test::FakeLines lines;
    test::FakeControl control;
    AcpiPm pm{own.journaled(), clock, lines, control};
};

TEST_F(AcpiPmTest, timer_runs_at_its_frequency) {
    EXPECT_EQ(pm.read(0x608, 4), 0U);
    clock.ns = 1'000'000'000;
    EXPECT_EQ(pm.read(0x608, 4), 3'579'545U);
    EXPECT_EQ(pm.read(0x60a, 1), (3'579'545U >> 16) & 0xff);
    EXPECT_EQ(pm.read(0x608, 2), 3'579'545U & 0xffff);
    pm.write(0x608, 4, 0);  // read-only
    EXPECT_EQ(pm.read(0x608, 4), 3'579'545U);
}

TEST_F(AcpiPmTest, timer_wraps_at_32_bits_and_interrupts_at_half) {
    pm.write(0x602, 2, 0x0001);
    const auto half = pm.next_deadline();
    EXPECT_NEAR(static_cast<double>(half), 2147483648.0 / 3579545 * 1e9, 2);
    pm.expire(half - 1);
    EXPECT_FALSE(lines.level[9]);
    clock.ns = half;
    pm.expire(half);
    EXPECT_TRUE(lines.level[9]);
    EXPECT_EQ(pm.read(0x608, 4), 0x8000'0000U);
    pm.write(0x600, 2, 0x0001);
    EXPECT_FALSE(lines.level[9]);
    clock.ns = pm.next_deadline();
    EXPECT_EQ(pm.read(0x608, 4), 0U);
}

TEST_F(AcpiPmTest, always_in_acpi_mode) {
    EXPECT_EQ(pm.read(0x604, 2) & 1, 1U);
    pm.write(0x604, 2, 0);
    EXPECT_EQ(pm.read(0x604, 2), 1U);
}

TEST_F(AcpiPmTest, soft_off_needs_enable_and_type) {
    pm.write(0x604, 2, 5 << 10);
    EXPECT_EQ(control.power_offs, 0U);
    pm.write(0x604, 2, 1U << 13 | 1 << 10);
    EXPECT_EQ(control.power_offs, 0U);
    pm.write(0x604, 2, 1U << 13 | 5 << 10);
    EXPECT_EQ(control.power_offs, 1U);
    EXPECT_EQ(pm.read(0x604, 2), 0x1401U);  // SLP_EN reads 0
    pm.write(0x605, 1, 0x34);               // by bytes
    EXPECT_EQ(control.power_offs, 2U);
}

TEST_F(AcpiPmTest, power_button) {
    pm.see_power_presses(1);
    EXPECT_FALSE(lines.level[9]);
    EXPECT_EQ(pm.read(0x600, 2), 0x0100U);
    pm.write(0x603, 1, 0x01);
    EXPECT_TRUE(lines.level[9]);
    pm.write(0x600, 4, 0x0100'0100);
    EXPECT_FALSE(lines.level[9]);
    EXPECT_EQ(pm.read(0x600, 4), 0x0100'0000U);
}

TEST_F(AcpiPmTest, a_press_is_seen_once) {
    pm.write(0x603, 1, 0x01);
    pm.see_power_presses(0);
    EXPECT_EQ(lines.edges[9], 0U);
    for (unsigned presses = 1; presses <= 3; ++presses) {
        pm.see_power_presses(presses);
        pm.see_power_presses(presses);
        EXPECT_EQ(lines.edges[9], presses);
        pm.write(0x600, 2, 0x0100);
        pm.see_power_presses(presses);
        EXPECT_FALSE(lines.level[9]);
    }
    // The count begins anew for a VM that was saved; a press it had not noticed then is still there.
    pm.see_power_presses(4);
    pm.forget_power_presses();
    pm.see_power_presses(0);
    EXPECT_TRUE(lines.level[9]);
    pm.write(0x600, 2, 0x0100);
    pm.see_power_presses(1);
    EXPECT_TRUE(lines.level[9]);
}

TEST_F(AcpiPmTest, reset_register_acts_on_the_rising_bit) {
    pm.write_reset_control(0x02);
    EXPECT_EQ(control.resets, 0U);
    EXPECT_EQ(pm.read_reset_control(), 0x02);
    pm.write_reset_control(reset_value);
    EXPECT_EQ(control.resets, 1U);
    pm.write_reset_control(0x0e);
    EXPECT_EQ(control.resets, 2U);
}

TEST_F(AcpiPmTest, fast_reset_and_a20) {
    pm.write_fast_a20(0x00);
    EXPECT_EQ(pm.read_fast_a20(), 0x00);
    pm.write_fast_a20(0x02);
    EXPECT_EQ(pm.read_fast_a20(), 0x02);
    EXPECT_EQ(control.resets, 0U);
    pm.write_fast_a20(0x03);
    EXPECT_EQ(control.resets, 1U);
}

TEST_F(AcpiPmTest, keyboard_controller_pulses) {
    for (const auto command : {0xaa, 0x20, 0xff, 0xf1, 0xd1}) {
        pm.write_keyboard_command(static_cast<std::uint8_t>(command));
    }
    EXPECT_EQ(control.resets, 0U);
    pm.write_keyboard_command(0xfe);
    pm.write_keyboard_command(0xf0);
    EXPECT_EQ(control.resets, 2U);
}

}  // namespace
}  // namespace margay::vmm
