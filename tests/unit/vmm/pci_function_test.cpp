#include "servers/vmm/devices/pci_function.hpp"

#include "proto/vm_control.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <set>

namespace margay::vmm {
namespace {

/// As QEMU's NVMe: a wide BAR, MSI-X, power management, PCI Express with a reset; and some that a guest must not see.
struct Real : GuestFunction {
    Real() : GuestFunction{} {
        messages = 33;
        put(0x00, 0x0010'1b36, 4);
        put(0x04, 0x0010'0000, 4);
        put(0x08, 0x0108'0202, 4);
        put(0x2c, 0x1100'1af4, 4);
        put(0x30, 0xfffe'0001, 4);
        config[0x3d] = 1;
        bar_size[0] = 0x4000, bar_flags[0] = 4;
        bar_size[3] = 0x1000, bar_flags[3] = 8;
        add(0x11, 0x40, 0x8040'0000 >> 16);  // MSI-X, 65 messages, enabled as firmware left it
        put(0x44, 0x2000, 4);
        put(0x48, 0x3000, 4);
        add(0x10, 0x80, 0x0002);  // PCI Express endpoint
        put(0x84, 0x1000'8000, 4);
        put(0x8c, 0x0040'0c11, 4);       // a link
        add(0x01, 0x60, 0xfe03);         // power management
        add(0x13, 0x70, 0);              // advanced features: nobody emulates them
        add(0x05, 0xd0, 0x0188);         // MSI, 64 bits, 16 messages, masks
        add(0x09, 0xf0, 0x10 | 5 << 8);  // of the vendor
    }
    void put(unsigned at, std::uint64_t value, unsigned width) {
        for (unsigned i = 0; i < width; ++i)
            config[at + i] = static_cast<std::uint8_t>(value >> 8 * i);
    }
    // At the end of the list.
    void add(std::uint8_t id, std::uint8_t at, std::uint16_t flags) {
        if (last == 0)
            config[0x34] = at;
        else
            config[last + 1U] = at;
        config[at] = id;
        put(at + 2U, flags, 2);
        last = at;
    }
    std::uint8_t last = 0;
};

class PciFunctionTest : public ::testing::Test {
  protected:
    std::uint32_t read(unsigned reg, unsigned width = 4) { return function.read(reg, width); }
    PciEffect write(unsigned reg, std::uint32_t value, unsigned width = 4) {
        return function.write(reg, width, value);
    }
    // Ids and offsets of the list.
    std::vector<std::pair<unsigned, unsigned>> list() {
        std::vector<std::pair<unsigned, unsigned>> found;
        for (unsigned at = read(0x34, 1); at != 0 && found.size() < 50; at = read(at + 1, 1))
            found.emplace_back(read(at, 1), at);
        return found;
    }

    Real real;
    test::OwnSlot<PciFunctionsState> own;
    PciFunction function{real, 1, own.journaled()};
    static constexpr std::uint64_t nowhere = PciFunction::nowhere;
};

TEST_F(PciFunctionTest, what_it_is) {
    EXPECT_EQ(read(0x00), 0x0010'1b36U);
    EXPECT_EQ(read(0x08), 0x0108'0202U);
    EXPECT_EQ(read(0x2c), 0x1100'1af4U);
    EXPECT_EQ(read(0x30), 0U) << "no expansion ROM";
    EXPECT_EQ(read(0x3c), 0U) << "no interrupt pin";
    EXPECT_EQ(read(0x0c), 0U) << "one function";
    EXPECT_EQ(read(0x04), 0x0010'0000U);
}

TEST_F(PciFunctionTest, only_capabilities_that_are_emulated) {
    using List = std::vector<std::pair<unsigned, unsigned>>;
    EXPECT_EQ(list(), (List{{0x11, 0x40}, {0x10, 0x80}, {0x01, 0x60}, {0x09, 0xf0}}));
    EXPECT_EQ(read(0x70), 0U) << "what is not in the list cannot be seen";
    EXPECT_EQ(read(0xd0), 0U);
    EXPECT_EQ(read(0x82, 2), 0x0092U) << "an endpoint of the root complex";
    EXPECT_EQ(read(0x8c), 0U) << "no link";
    EXPECT_EQ(read(0xf0, 4), 0x0510'0009U);
}

TEST_F(PciFunctionTest, lists_that_lie) {
    real.config[0xf1] = 0x40;  // in a circle
    const PciFunction circle{real, 1, own.journaled()};
    EXPECT_EQ(circle.read(0xf1, 1), 0U);
    real.config[0xf2] = 0xff;  // out of the space
    const PciFunction out{real, 1, own.journaled()};
    EXPECT_EQ(out.read(0x61, 1), 0U);
    // Over another one.
    real.config[0x61] = 0x84;
    real.config[0x84] = 0x09;
    real.config[0x86] = 8;
    const PciFunction over{real, 1, own.journaled()};
    EXPECT_EQ(over.read(0x61, 1), 0U);
    EXPECT_EQ(over.read(0x84, 1), 0x09U) << "it is a register of the one that has it";
}

TEST_F(PciFunctionTest, bars_are_sized_and_moved) {
    write(0x10, 0xffff'ffff);
    write(0x14, 0xffff'ffff);
    EXPECT_EQ(read(0x10), 0xffff'c004U);
    EXPECT_EQ(read(0x14), 0xffff'ffffU);
    write(0x18, 0xffff'ffff);
    EXPECT_EQ(read(0x18), 0U) << "it is not passed";
    write(0x1c, 0xffff'ffff);
    EXPECT_EQ(read(0x1c), 0xffff'f008U);
    write(0x20, 0xffff'ffff);
    EXPECT_EQ(read(0x20), 0U) << "there is none";
    EXPECT_TRUE(write(0x10, 0xc000'0000).mapping);
    write(0x14, 0x2);
    EXPECT_EQ(function.memory_bar(0), nowhere) << "it does not decode";
    EXPECT_TRUE(write(0x04, 3, 2).mapping);
    EXPECT_EQ(function.memory_bar(0), 0x2'c000'0000U);
    EXPECT_EQ(function.memory_bar(1), nowhere) << "it is the upper half";
    EXPECT_EQ(function.memory_bar(2), nowhere);
    EXPECT_EQ(function.memory_bar(4), nowhere);
}

TEST_F(PciFunctionTest, a_byte_at_a_time) {
    for (unsigned i = 0; i < 4; ++i) write(0x1c + i, 0xc0 + i, 1);
    EXPECT_EQ(read(0x1c), 0xc3c2'c008U);
    EXPECT_EQ(read(0x1e, 2), 0xc3c2U);
    EXPECT_EQ(read(0x1f, 1), 0xc3U);
}

TEST_F(PciFunctionTest, bus_mastering) {
    EXPECT_FALSE(function.may_master());
    const PciEffect e = write(0x04, 0xffff, 2);
    EXPECT_TRUE(e.bus_master && e.mapping);
    EXPECT_EQ(read(0x04, 2), 0x0547U);
    EXPECT_TRUE(function.may_master());
    EXPECT_FALSE(write(0x04, 0x0547, 2).bus_master) << "nothing changed";
    EXPECT_TRUE(write(0x04, 0x0543, 2).bus_master);
    EXPECT_FALSE(function.may_master());
}

TEST_F(PciFunctionTest, asleep_it_is_not_there) {
    write(0x10, 0xc000'0000);
    write(0x04, 6, 2);
    EXPECT_FALSE(write(0x64, 1, 1).mapping) << "there is no D1";
    EXPECT_EQ(read(0x64, 1) & 3, 0U);
    const PciEffect e = write(0x64, 3, 1);
    EXPECT_TRUE(e.mapping && e.bus_master);
    EXPECT_EQ(read(0x64, 1) & 3, 3U);
    EXPECT_EQ(function.memory_bar(0), nowhere);
    EXPECT_FALSE(function.may_master());
    write(0x64, 0, 1);
    EXPECT_EQ(function.memory_bar(0), 0xc000'0000U) << "it was only asleep";
    EXPECT_TRUE(function.may_master());
}

TEST_F(PciFunctionTest, msix) {
    EXPECT_FALSE(function.msix_on()) << "as the guest has it, not as firmware left it";
    EXPECT_EQ(function.real_messages(), 65U);
    EXPECT_EQ(read(0x42, 2), 0x0020U) << "33 messages are given";
    EXPECT_EQ(read(0x44), 0x2000U);
    EXPECT_TRUE(write(0x42, 0xffff, 2).messages);
    EXPECT_EQ(read(0x42, 2), 0xc020U);
    EXPECT_TRUE(function.msix_on());
    EXPECT_TRUE(function.msix_masked());
    write(0x44, 0xffff'ffff);
    EXPECT_EQ(read(0x44), 0x2000U);
}

TEST_F(PciFunctionTest, msi) {
    real.msi_messages = 8;
    PciFunction both{real, 1, own.journaled()};
    EXPECT_EQ(both.read(0xd0, 4), 0x0186'f005U)
        << "64 bits, masks, 8 of its 16 messages; the vendor's is next";
    EXPECT_EQ(both.interrupts(), PciInterrupts::none);
    EXPECT_TRUE(both.write(0xd2, 2, 0x0021).messages);
    EXPECT_EQ(both.interrupts(), PciInterrupts::msi);
    EXPECT_EQ(both.wish(), std::uint64_t{1} << function_wish::interrupts_shift |
                               std::uint64_t{2} << function_wish::messages_shift);
    (void)both.write(0xd4, 4, 0xfee0'1000);
    EXPECT_EQ(both.read(0xd4, 4), 0xfee0'1000U);
    (void)both.write(0x42, 2, 0x8000);
    EXPECT_EQ(both.wish(), std::uint64_t{2} << function_wish::interrupts_shift)
        << "both are on: how many by MSI does not matter";
    (void)both.write(0x88, 2, 0x8000);
    EXPECT_EQ(both.read(0xd2, 2), 0x0186U);
    EXPECT_EQ(both.read(0xd4, 4), 0U);
    EXPECT_EQ(both.wish(), std::uint64_t{1} << function_wish::resets_shift);
    EXPECT_EQ(own.slot.live.msi[0].address, 0U) << "another's is another's";
}

TEST_F(PciFunctionTest, without_messages) {
    real.messages = 0;
    const PciFunction silent{real, 1, own.journaled()};
    EXPECT_EQ(silent.read(0x34, 1), 0x80U);
    EXPECT_EQ(silent.read(0x40, 4), 0U);
    EXPECT_EQ(silent.real_messages(), 65U) << "the table is there all the same";
}

TEST_F(PciFunctionTest, wishes) {
    EXPECT_EQ(function.wish(), 0U);
    write(0x04, 4, 2);
    EXPECT_EQ(function.wish(), function_wish::bus_master);
    write(0x88, 0x8000, 2);
    EXPECT_EQ(function.wish(), 1U << function_wish::resets_shift);
    write(0x88, 0x8000, 2);
    write(0x04, 4, 2);
    EXPECT_EQ(function.wish(), 2U << function_wish::resets_shift | function_wish::bus_master);
    EXPECT_EQ(own.slot.live.function[0].command, 0U) << "another's is another's";
}

TEST_F(PciFunctionTest, function_level_reset) {
    write(0x10, 0xc000'0000);
    write(0x04, 6, 2);
    write(0x42, 0x8000, 2);
    write(0x88, 0x0010, 2);
    EXPECT_EQ(read(0x88, 2), 0x0010U);
    EXPECT_NE(read(0x84) >> 28 & 1, 0U) << "it says that it can";
    const PciEffect e = write(0x88, 0x8000, 2);
    EXPECT_TRUE(e.reset && e.mapping && e.bus_master && e.messages);
    EXPECT_EQ(read(0x10), 4U);
    EXPECT_EQ(read(0x04, 2), 0U);
    EXPECT_EQ(read(0x88, 2), 0U);
    EXPECT_FALSE(function.msix_on());
}

// Whatever the function says and the guest writes: the list ends, sizes hold, nothing is out of bounds.
TEST_F(PciFunctionTest, anything) {
    std::mt19937 random{1};
    for (unsigned round = 0; round < 300; ++round) {
        GuestFunction any{};
        for (auto& byte : any.config) byte = static_cast<std::uint8_t>(random());
        any.config[6] |= 0x10;
        any.messages = static_cast<std::uint16_t>(random() % (max_guest_messages + 1));
        for (unsigned i = 0; i < pci_bars; ++i) {
            any.bar_size[i] = std::uint64_t{1} << (12 + random() % 40);
            any.bar_flags[i] = static_cast<std::uint8_t>(random());
        }
        own.slot.live = {};
        any.msi_messages = static_cast<std::uint8_t>(random() % 2 << random() % 6);
        PciFunction f{any, 3, own.journaled()};
        for (unsigned n = 0; n < 500; ++n) {
            const unsigned width = 1U << random() % 3;
            const unsigned reg = static_cast<unsigned>(random() % 256) & ~(width - 1);
            (void)f.write(reg, width, static_cast<std::uint32_t>(random()));
            (void)f.read(reg, width);
        }
        std::set<unsigned> seen;
        for (unsigned at = f.read(0x34, 1); at != 0; at = f.read(at + 1, 1)) {
            ASSERT_TRUE(seen.insert(at).second);
            ASSERT_GE(at, 0x40U);
        }
        (void)f.wish();
        for (unsigned i = 0; i < pci_bars; ++i) (void)f.memory_bar(i);
    }
}

}  // namespace
}  // namespace margay::vmm
