#include "servers/vmm/devices/pci_host.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

namespace margay::vmm {
namespace {

class PciHostTest : public ::testing::Test {
  protected:
    PciHostTest() { PciHost::reset(state); }

    std::uint32_t read(std::uint32_t address, unsigned offset = 0, unsigned width = 4) {
        pci.write_address(0x8000'0000 | address);
        return pci.read_data(offset, width);
    }

    test::OwnSlot<PciHostState> own;
    PciHostState& state = own.slot.live;
    PciHost pci{own.journaled()};
};

TEST_F(PciHostTest, address_register_keeps_its_bits) {
    pci.write_address(0x8000'0000);
    EXPECT_EQ(pci.read_address(), 0x8000'0000U);  // how Linux finds mechanism 1
    pci.write_address(0xffff'ffff);
    EXPECT_EQ(pci.read_address(), 0x80ff'fffcU);
}

TEST_F(PciHostTest, host_bridge_in_all_widths) {
    EXPECT_EQ(read(0x00), 0x0008'1b36U);
    EXPECT_EQ(read(0x00, 2, 2), 0x0008U);
    EXPECT_EQ(read(0x00, 1, 1), 0x1bU);
    EXPECT_EQ(read(0x08), 0x0600'0000U);
    EXPECT_EQ(read(0x08, 2, 2), 0x0600U);
    EXPECT_EQ(read(0x0c), 0U);  // header type 0, one function
}

TEST_F(PciHostTest, nothing_elsewhere) {
    for (const auto address : {0x0000'0800U, 0x0000'0100U, 0x0001'0000U, 0x00ff'ff00U}) {
        EXPECT_EQ(read(address), 0xffff'ffffU);
        EXPECT_EQ(read(address, 0, 2), 0xffffU);
        EXPECT_EQ(read(address, 3, 1), 0xffU);
        pci.write_data(0, 4, 0);
    }
    EXPECT_EQ(state.command, 7);
}

TEST_F(PciHostTest, disabled_address_reads_ones) {
    pci.write_address(0);
    EXPECT_EQ(pci.read_data(0, 4), 0xffff'ffffU);
    pci.write_address(4);
    pci.write_data(0, 2, 0);
    EXPECT_EQ(read(0x04, 0, 2), 7U);
}

TEST_F(PciHostTest, base_registers_have_no_size) {
    for (std::uint32_t reg = 0x10; reg < 0x28; reg += 4) {
        pci.write_address(0x8000'0000 | reg);
        pci.write_data(0, 4, 0xffff'ffff);
        EXPECT_EQ(pci.read_data(0, 4), 0U);
    }
}

TEST_F(PciHostTest, command_keeps_what_a_bridge_has) {
    pci.write_address(0x8000'0004);
    pci.write_data(0, 2, 0xffff);
    EXPECT_EQ(pci.read_data(0, 4), 0x0147U);
    pci.write_data(1, 1, 0);
    EXPECT_EQ(pci.read_data(0, 2), 0x0047U);
    pci.write_address(0x8000'003c);
    pci.write_data(0, 1, 11);
    EXPECT_EQ(pci.read_data(0, 4), 11U);
}

}  // namespace
}  // namespace margay::vmm
