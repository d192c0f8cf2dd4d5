#include "ukernel/arch/x86_64/svm/permission_map.hpp"

#include <gtest/gtest.h>

#include <bitset>
#include <memory>
#include <random>

namespace margay {
namespace {

TEST(IoBitmap, EverythingExitsUntilAllowed) {
    const auto map = std::make_unique<IoBitmap>();
    map->intercept_all();
    for (std::uint32_t p = 0; p < 3 * 4096 * 8; p += 13) EXPECT_TRUE(map->intercepts(p));
    map->allow(0x3f8, 8);
    for (std::uint32_t p = 0; p < 0x10000; ++p)
        EXPECT_EQ(map->intercepts(p), p < 0x3f8 || p >= 0x400);
    map->intercept(0x3fa, 1);
    EXPECT_TRUE(map->intercepts(0x3fa));
    EXPECT_FALSE(map->intercepts(0x3f9));
    EXPECT_FALSE(map->intercepts(0x3fb));
}

TEST(IoBitmap, AllPortsAllowedLeavesTheBitsBehindTheLastPort) {
    const auto map = std::make_unique<IoBitmap>();
    map->intercept_all();
    map->allow(0, 0x10000);
    EXPECT_FALSE(map->intercepts(0xffff));
    for (std::uint32_t p = 0x10000; p < 0x10003; ++p) EXPECT_TRUE(map->intercepts(p));
}

TEST(IoBitmap, RandomRangesAgainstABitset) {
    std::mt19937 random{5};
    const auto map = std::make_unique<IoBitmap>();
    map->intercept_all();
    auto model = std::make_unique<std::bitset<0x10000>>();
    model->set();
    for (unsigned n = 0; n < 300; ++n) {
        const std::uint32_t first = static_cast<std::uint32_t>(random() % 0x10000);
        const std::uint32_t count =
            1 + static_cast<std::uint32_t>(random() % std::min(300u, 0x10000 - first));
        const bool allow = random() % 2 == 0;
        if (allow)
            map->allow(first, count);
        else
            map->intercept(first, count);
        for (std::uint32_t p = first; p < first + count; ++p) model->set(p, !allow);
        if (n % 20 != 0) continue;
        for (std::uint32_t p = 0; p < 0x10000; ++p) ASSERT_EQ(map->intercepts(p), model->test(p));
    }
}

TEST(MsrBitmap, ReadAndWriteApart) {
    MsrBitmap map;
    map.intercept_all();
    for (const std::uint32_t index : {0x0u, 0x10u, 0x1fffu, 0xc000'0000u, 0xc000'0080u,
                                      0xc000'1fffu, 0xc001'0000u, 0xc001'1fffu}) {
        EXPECT_TRUE(map.intercepts(index, false));
        EXPECT_TRUE(map.allow(index, true, false));
        EXPECT_FALSE(map.intercepts(index, false));
        EXPECT_TRUE(map.intercepts(index, true));
        EXPECT_TRUE(map.allow(index, false, true));
        EXPECT_FALSE(map.intercepts(index, true));
        EXPECT_TRUE(map.intercepts(index ^ 1, false));
        EXPECT_TRUE(map.intercepts(index ^ 1, true));
    }
}

TEST(MsrBitmap, OutsideItsRangesEverythingExits) {
    MsrBitmap map;
    map.intercept_all();
    for (const std::uint32_t index :
         {0x2000u, 0x4000'0000u, 0xbfff'ffffu, 0xc000'2000u, 0xc001'2000u, ~0u}) {
        EXPECT_FALSE(map.allow(index, true, true));
        EXPECT_TRUE(map.intercepts(index, false));
        EXPECT_TRUE(map.intercepts(index, true));
    }
}

// The map as the processor reads it (§15.11): two bits for each MSR, 2 KiB for each range.
TEST(MsrBitmap, LayoutOfTheHardware) {
    MsrBitmap map;
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&map);
    const struct {
        std::uint32_t index;
        unsigned byte, bit;
    } places[] = {
        {0x10, 4, 0}, {0x1fff, 0x7ff, 6}, {0xc000'0080, 0x820, 0}, {0xc001'0114, 0x1045, 0}};
    for (const auto& p : places) {
        map.intercept_all();
        ASSERT_TRUE(map.allow(p.index, true, false));
        EXPECT_EQ(bytes[p.byte], 0xff & ~(1u << p.bit)) << std::hex << p.index;
        ASSERT_TRUE(map.allow(p.index, false, true));
        EXPECT_EQ(bytes[p.byte], 0xff & ~(3u << p.bit)) << std::hex << p.index;
    }
}

}  // namespace
}  // namespace margay
