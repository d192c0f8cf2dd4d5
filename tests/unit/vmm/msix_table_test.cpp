#include "servers/vmm/devices/msix_table.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

namespace margay::vmm {
namespace {

class MsixTableTest : public ::testing::Test {
  protected:
    MsixTableTest() { MsixTable::reset(own.slot.live); }

    test::OwnSlot<MsixTableState> own;
    // Messages 5 to 37 of the VM.
    MsixTable table{5, 33, own.journaled()};
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
    EXPECT_EQ(table.write(33 * 16, 4, ~0U), std::nullopt);
    EXPECT_EQ(table.read(33 * 16, 8), 0U);
    EXPECT_EQ(table.read(~std::uint64_t{0} - 7, 8), 0U);
    EXPECT_FALSE(table.arrive(33, false));
    EXPECT_FALSE(table.arrive(~0U, false));
}

TEST_F(MsixTableTest, a_masked_message_waits) {
    table.write(16 * 32, 8, 0xfee0'0000);
    table.write(16 * 32 + 8, 4, 0x41);
    EXPECT_FALSE(table.arrive(32, false));
    EXPECT_FALSE(table.arrive(32, false));
    EXPECT_EQ(table.read_pending(0, 8), 1ULL << 32);
    EXPECT_EQ(table.read_pending(4, 1), 1U);
    EXPECT_EQ(table.read_pending(0, 4), 0U);
    EXPECT_EQ(table.read_pending(8, 8), 0U);
    EXPECT_EQ(own.slot.live.pending, 1ULL << 37);
    EXPECT_EQ(table.read_pending(64, 8), 0U);
    EXPECT_FALSE(table.take_pending(32, false)) << "it is still masked";
    EXPECT_EQ(table.write(16 * 32 + 12, 4, 0), 32U);
    EXPECT_FALSE(table.take_pending(32, true)) << "all are";
    const auto m = table.take_pending(32, false);
    ASSERT_TRUE(m);
    EXPECT_EQ(m->address, 0xfee0'0000U);
    EXPECT_EQ(m->data, 0x41U);
    EXPECT_FALSE(table.take_pending(32, false)) << "once";
    EXPECT_TRUE(table.arrive(32, false));
    EXPECT_FALSE(table.arrive(32, true));
    EXPECT_TRUE(table.take_pending(32, false));
}

TEST_F(MsixTableTest, functions_have_their_own) {
    MsixTable before{0, 5, own.journaled()}, behind{38, 10, own.journaled()};
    for (auto* t : {&before, &behind}) {
        t->write(8, 8, 7);
        EXPECT_TRUE(t->arrive(0, false));
        EXPECT_FALSE(t->arrive(1, false));
    }
    for (unsigned i = 0; i < table.entries(); ++i) {
        EXPECT_EQ(table.read(16 * i + 8, 8), 1ULL << 32);
        EXPECT_FALSE(table.arrive(i, true));
    }
    EXPECT_EQ(before.read_pending(0, 8), 2U);
    EXPECT_EQ(behind.read_pending(0, 8), 2U);
    EXPECT_EQ(table.read_pending(0, 8), (1ULL << 33) - 1);
    table.write(0, 8, 0xfee0'0000);
    table.reset();
    EXPECT_EQ(table.read_pending(0, 8), 0U);
    EXPECT_EQ(table.read(0, 8), 0U);
    EXPECT_EQ(before.read_pending(0, 8), 2U);
    EXPECT_EQ(behind.read_pending(0, 8), 2U);
    EXPECT_EQ(behind.read(8, 8), 7U);
}

TEST_F(MsixTableTest, more_than_there_are) {
    EXPECT_EQ((MsixTable{40, 20, own.journaled()}.entries()), 8U);
    EXPECT_EQ((MsixTable{48, 1, own.journaled()}.entries()), 0U);
    EXPECT_EQ((MsixTable{60'000, 60'000, own.journaled()}.entries()), 0U);
    MsixTable all{0, 60'000, own.journaled()};
    EXPECT_EQ(all.entries(), max_guest_messages);
    EXPECT_FALSE(all.arrive(47, false));
    EXPECT_EQ(all.read_pending(0, 8), 1ULL << 47);
}

}  // namespace
}  // namespace margay::vmm
