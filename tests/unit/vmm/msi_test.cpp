#include "servers/vmm/devices/msi.hpp"

#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

namespace margay::vmm {
namespace {

constexpr std::uint16_t wide = 1 << 7, masks = 1 << 8;

class MsiTest : public ::testing::Test {
  protected:
    Msi make(std::uint16_t control, unsigned messages) {
        own.slot.live = {};
        return Msi{control, messages, 2, own.journaled()};
    }
    static std::uint32_t read(const Msi& msi, unsigned offset, unsigned width) {
        std::uint32_t value = 0;
        for (unsigned i = 0; i < width; ++i)
            value |= std::uint32_t{msi.read(offset + i)} << (8 * i);
        return value;
    }
    static void write(Msi& msi, unsigned offset, unsigned width, std::uint32_t value) {
        for (unsigned i = 0; i < width; ++i)
            msi.write(offset + i, static_cast<std::uint8_t>(value >> (8 * i)));
    }
    test::OwnSlot<PciFunctionsState> own;
};

TEST_F(MsiTest, as_long_as_the_real_one) {
    EXPECT_EQ(Msi::bytes(0), 10U);
    EXPECT_EQ(Msi::bytes(wide), 14U);
    EXPECT_EQ(Msi::bytes(masks), 20U);
    EXPECT_EQ(Msi::bytes(wide | masks), 24U);
}

TEST_F(MsiTest, narrow) {
    Msi msi = make(0, 1);
    EXPECT_EQ(read(msi, 2, 2), 0U);
    write(msi, 4, 4, ~0U);
    EXPECT_EQ(read(msi, 4, 4), ~3U);
    write(msi, 8, 2, 0x4031);
    EXPECT_EQ(read(msi, 8, 2), 0x4031U);
    for (const unsigned at : {10U, 12U, 16U}) write(msi, at, 4, ~0U);
    EXPECT_EQ(own.slot.live.msi[2].masked, 0U) << "it has no masks";
    write(msi, 2, 2, 0xffff);
    EXPECT_EQ(read(msi, 2, 2), 1U) << "one message";
    const auto m = msi.arrive(0);
    ASSERT_TRUE(m);
    EXPECT_EQ(m->address, 0xffff'fffcU);
    EXPECT_EQ(m->data, 0x4031U);
    EXPECT_FALSE(msi.arrive(1));
    EXPECT_FALSE(msi.arrive(47));
}

TEST_F(MsiTest, wide_with_masks) {
    Msi msi = make(wide | masks, 16);
    EXPECT_EQ(read(msi, 2, 2), wide | masks | 4U << 1);
    write(msi, 2, 2, 0x0071);
    EXPECT_EQ(read(msi, 2, 2), wide | masks | 4U << 1 | 4U << 4 | 1) << "no more than there are";
    write(msi, 4, 4, 0xfee0'0000);
    write(msi, 8, 4, 1);
    write(msi, 12, 2, 0x00ff);
    EXPECT_EQ(read(msi, 8, 4), 1U);
    EXPECT_EQ(read(msi, 14, 2), 0U);
    write(msi, 16, 4, 1U << 15);
    EXPECT_FALSE(msi.arrive(15));
    EXPECT_TRUE(msi.has_pending());
    EXPECT_EQ(read(msi, 20, 4), 1U << 15);
    EXPECT_FALSE(msi.take_pending(15)) << "it is masked still";
    write(msi, 16, 4, 0);
    EXPECT_FALSE(msi.take_pending(14));
    EXPECT_FALSE(msi.take_pending(16));
    const auto m = msi.take_pending(15);
    ASSERT_TRUE(m);
    EXPECT_EQ(m->address, 0x1'fee0'0000U);
    EXPECT_EQ(m->data, 0xf0U | 15);
    EXPECT_FALSE(msi.has_pending());
}

TEST_F(MsiTest, pending_ones_of_less_than_before) {
    Msi msi = make(masks, 4);
    write(msi, 2, 1, 0x21);
    write(msi, 12, 4, 8);
    EXPECT_FALSE(msi.arrive(3));
    write(msi, 2, 1, 0x11);
    write(msi, 12, 4, 0);
    EXPECT_FALSE(msi.take_pending(3)) << "two messages are on";
    write(msi, 2, 1, 0x20);
    EXPECT_FALSE(msi.take_pending(3)) << "they are off";
}

TEST_F(MsiTest, nothing_is_given) {
    Msi msi = make(wide, 0);
    write(msi, 2, 2, 0xffff);
    EXPECT_FALSE(msi.is_on());
    EXPECT_FALSE(msi.arrive(0));
}

}  // namespace
}  // namespace margay::vmm
