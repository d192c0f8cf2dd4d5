#include "servers/vmm/devices/msix_table.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

namespace margay::vmm {
namespace {

class MsixTableTest : public ::testing::Test {
  protected:
    MsixTableTest() { MsixTable::reset(own.slot.live); }

    test::OwnSlot<MsixTableState> own;
    MsixTable table{65, own.journaled()};
};

TEST_F(MsixTableTest, entries_begin_masked) {
    for (unsigned i = 0; i < table.entries(); ++i) {
        EXPECT_TRUE(table.is_masked(i));
        EXPECT_EQ(table.read(16 * i, 8), 0U);
        EXPECT_EQ(table.read(16 * i + 8, 8), 1ULL << 32);
    }
}

TEST_F(MsixTableTest, in_all_widths) {
    EXPECT_EQ(table.write(32, 8, 0x1'fee0'1003), 2U);
    EXPECT_EQ(table.read(32, 8), 0x1'fee0'1000U) << "the lowest bits are zero";
    EXPECT_EQ(table.write(40, 8, 0xffff'fffe'0000'4041), 2U) << "data and mask at once";
    EXPECT_EQ(table.read(40, 4), 0x4041U);
    EXPECT_EQ(table.read(44, 4), 0U);
    EXPECT_FALSE(table.is_masked(2));
    table.write(33, 1, 0x55);
    EXPECT_EQ(table.read(32, 4), 0xfee0'5500U);
    table.write(42, 2, 0x1234);
    EXPECT_EQ(table.read(40, 4), 0x1234'4041U);
    EXPECT_EQ(table.read(43, 1), 0x12U);
}

TEST_F(MsixTableTest, nothing_behind_the_last_entry) {
    EXPECT_EQ(table.write(65 * 16, 4, ~0U), std::nullopt);
    EXPECT_EQ(table.read(65 * 16, 8), 0U);
    EXPECT_EQ(table.read(~std::uint64_t{0} - 7, 8), 0U);
    EXPECT_FALSE(table.arrive(65, false));
    EXPECT_FALSE(table.arrive(~0U, false));
}

TEST_F(MsixTableTest, a_masked_message_waits) {
    table.write(16 * 64, 8, 0xfee0'0000);
    table.write(16 * 64 + 8, 4, 0x41);
    EXPECT_FALSE(table.arrive(64, false));
    EXPECT_FALSE(table.arrive(64, false));
    EXPECT_EQ(table.read_pending(8, 8), 1U);
    EXPECT_EQ(table.read_pending(8, 1), 1U);
    EXPECT_EQ(table.read_pending(0, 8), 0U);
    EXPECT_EQ(table.read_pending(64, 8), 0U);
    EXPECT_FALSE(table.take_pending(64, false)) << "it is still masked";
    EXPECT_EQ(table.write(16 * 64 + 12, 4, 0), 64U);
    EXPECT_FALSE(table.take_pending(64, true)) << "all are";
    const auto m = table.take_pending(64, false);
    ASSERT_TRUE(m);
    EXPECT_EQ(m->address, 0xfee0'0000U);
    EXPECT_EQ(m->data, 0x41U);
    EXPECT_FALSE(table.take_pending(64, false)) << "once";
    EXPECT_TRUE(table.arrive(64, false));
    EXPECT_FALSE(table.arrive(64, true));
    EXPECT_TRUE(table.take_pending(64, false));
}

}  // namespace
}  // namespace margay::vmm
