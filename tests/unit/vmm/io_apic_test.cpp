#include "servers/vmm/devices/io_apic.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

namespace margay::vmm {
namespace {

class IoApicTest : public ::testing::Test {
  protected:
    IoApicTest() { IoApic::reset(state); }

    std::uint32_t read(unsigned index) {
        apic.mmio_write(0x00, 4, index);
        return static_cast<std::uint32_t>(apic.mmio_read(0x10, 4));
    }
    void write(unsigned index, std::uint32_t value) {
        apic.mmio_write(0x00, 4, index);
        apic.mmio_write(0x10, 4, value);
    }
    void program(unsigned pin, std::uint32_t low, std::uint32_t high = 0) {
        write(0x11 + 2 * pin, high);
        write(0x10 + 2 * pin, low);
    }

    test::OwnSlot<IoApicState> own;
    IoApicState& state = own.slot.live;
    test::FakeBus bus;
    IoApic apic{own.journaled(), bus};
};

constexpr std::uint32_t level = 1U << 15;
constexpr std::uint32_t remote_irr = 1U << 14;
constexpr std::uint32_t masked = 1U << 16;

TEST_F(IoApicTest, version_pins_and_id) {
    EXPECT_EQ(read(1), 0x000f'0020U);
    write(0, 0xff00'0000);
    EXPECT_EQ(read(0), 0x0f00'0000U);
}

TEST_F(IoApicTest, a_guest_of_an_older_build_keeps_its_24_pins) {
    program(20, 0x31);
    apic.set_line(20, true);
    EXPECT_TRUE(bus.delivered.empty());
    EXPECT_EQ(read(0x10 + 2 * 20), 0U);

    state.pins = 0;  // the field did not exist
    EXPECT_EQ(read(1), 0x0017'0020U);
    program(20, 0x31);
    apic.set_line(20, true);
    EXPECT_EQ(bus.delivered.size(), 1U);
}

TEST_F(IoApicTest, everything_is_masked_at_reset) {
    for (unsigned pin = 0; pin < isa_pins; ++pin) {
        EXPECT_EQ(read(0x10 + 2 * pin), masked);
        apic.set_line(pin, true);
    }
    EXPECT_TRUE(bus.delivered.empty());
}

TEST_F(IoApicTest, edge_delivers_once_per_rise) {
    program(4, 0x31 | 1U << 11, 0x0300'0000);
    apic.set_line(4, true);
    apic.set_line(4, true);
    ASSERT_EQ(bus.delivered.size(), 1U);
    EXPECT_EQ(bus.delivered[0].vector, 0x31);
    EXPECT_EQ(bus.delivered[0].destination, 3U);
    EXPECT_TRUE(bus.delivered[0].logical);
    EXPECT_FALSE(bus.delivered[0].level);
    apic.set_line(4, false);
    apic.set_line(4, true);
    EXPECT_EQ(bus.delivered.size(), 2U);
}

TEST_F(IoApicTest, masked_edge_comes_after_unmasking) {
    program(4, masked | 0x31);
    apic.set_line(4, true);
    apic.set_line(4, false);
    EXPECT_TRUE(bus.delivered.empty());
    program(4, 0x31);
    EXPECT_EQ(bus.delivered.size(), 1U);
    program(4, 0x31);
    EXPECT_EQ(bus.delivered.size(), 1U);
}

TEST_F(IoApicTest, level_waits_for_completion) {
    program(9, level | 0x51);
    apic.set_line(9, true);
    ASSERT_EQ(bus.delivered.size(), 1U);
    EXPECT_TRUE(bus.delivered[0].level);
    EXPECT_NE(read(0x22) & remote_irr, 0U);
    apic.set_line(9, false);
    apic.set_line(9, true);
    EXPECT_EQ(bus.delivered.size(), 1U);
    apic.end_of_interrupt(0x52);  // another vector
    EXPECT_EQ(bus.delivered.size(), 1U);
    apic.end_of_interrupt(0x51);
    EXPECT_EQ(bus.delivered.size(), 2U);
    apic.set_line(9, false);
    apic.end_of_interrupt(0x51);
    EXPECT_EQ(bus.delivered.size(), 2U);
    EXPECT_EQ(read(0x22) & remote_irr, 0U);
}

TEST_F(IoApicTest, eoi_register_completes) {
    program(9, level | 0x51);
    apic.set_line(9, true);
    apic.mmio_write(0x40, 4, 0x51);
    EXPECT_EQ(bus.delivered.size(), 2U);
}

TEST_F(IoApicTest, switching_to_edge_clears_remote_irr) {
    program(9, level | 0x51);
    apic.set_line(9, true);
    program(9, masked | 0x51);
    EXPECT_EQ(read(0x22) & remote_irr, 0U);
    program(9, 0x51);
    EXPECT_EQ(bus.delivered.size(), 1U);  // the level request is no edge
}

TEST_F(IoApicTest, level_asserted_while_masked_is_delivered_and_withdrawn_when_it_falls) {
    program(9, masked | level | 0x51);
    apic.set_line(9, true);
    apic.set_line(9, false);
    program(9, level | 0x51);
    EXPECT_TRUE(bus.delivered.empty());
    program(9, masked | level | 0x51);
    apic.set_line(9, true);
    program(9, level | 0x51);
    EXPECT_EQ(bus.delivered.size(), 1U);
}

TEST_F(IoApicTest, read_only_bits_stay) {
    write(0x10, 0xffff'ffff & ~masked);
    EXPECT_EQ(read(0x10) & (remote_irr | 1U << 12), 0U);
    write(0x11, 0xffff'ffff);
    EXPECT_EQ(read(0x11), 0xff00'0000U);
}

TEST_F(IoApicTest, external_mode_on_pin_0) {
    EXPECT_FALSE(apic.passes_external());
    program(0, 0x700);
    EXPECT_TRUE(apic.passes_external());
    apic.set_line(0, true);
    EXPECT_TRUE(bus.delivered.empty());
    program(0, masked | 0x700);
    EXPECT_FALSE(apic.passes_external());
}

TEST_F(IoApicTest, hostile_accesses) {
    for (unsigned offset = 0; offset < 0x1000; ++offset) {
        for (const auto width : {1U, 2U, 4U, 8U}) {
            static_cast<void>(apic.mmio_read(offset, width));
            apic.mmio_write(offset, width, ~0ULL);
        }
    }
    for (unsigned index = 0; index < 256; ++index) {
        write(index, ~0U);
        static_cast<void>(read(index));
    }
    apic.set_line(24, true);
    apic.set_line(~0U, true);
    EXPECT_EQ(apic.mmio_read(0x10, 2), 0xffffU);
    EXPECT_EQ(read(0x40), 0U);
    EXPECT_EQ(read(0x0f), 0U);
}

}  // namespace
}  // namespace margay::vmm
