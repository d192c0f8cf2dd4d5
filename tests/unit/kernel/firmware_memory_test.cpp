#include "ukernel/arch/x86_64/iommu/firmware_memory.hpp"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace margay::iommu {
namespace {

constexpr std::uint64_t kib4 = 4096, mib2 = 2 << 20;

// Tables in ordinary memory, a limited number of them.
struct Frames {
    unsigned left = 100;
    std::uint64_t next = 0x1000'0000;
    std::map<std::uint64_t, std::unique_ptr<std::array<std::uint64_t, 512>>> used;

    std::uint64_t* table(HostPhys p) const { return used.at(p.value())->data(); }
    std::optional<HostPhys> allocate() {
        if (left == 0) return std::nullopt;
        --left;
        used[next += kib4] = std::make_unique<std::array<std::uint64_t, 512>>();
        return HostPhys{next};
    }
    void release(HostPhys) {}
};

struct E820 {
    std::uint64_t base, length;
    std::uint32_t type, padding = 0;
};

class FirmwareMemoryTest : public testing::TestWithParam<DmaFormat> {
  protected:
    using Spaces = FirmwareSpaces<Frames>;
    using Answer = Spaces::Answer;
    static constexpr Requester usb = 0xa0, screen = 0x10;

    FirmwareMemoryTest() {
        memory_.build({reinterpret_cast<const std::uint8_t*>(map_.data()), sizeof(E820),
                       static_cast<std::uint32_t>(map_.size())},
                      HostPhys{1ull << 46});
    }
    static FirmwareMemory of(Requester r, std::uint64_t begin, std::uint64_t end, bool reads = true,
                             bool writes = true) {
        return {r, reads, writes, HostPhys{begin}, HostPhys{end}};
    }
    // What the function reaches at that address: reads 1, writes 2.
    unsigned reach(Requester r, std::uint64_t address) {
        for (const Spaces::Space& s : spaces.spaces()) {
            if (s.function != r) continue;
            return with_dma_tables(GetParam(), frames, s.root, [&](auto format, auto tables) {
                const auto leaf = tables.lookup(address);
                if (!leaf) return 0u;
                EXPECT_EQ(leaf->physical.value(), address) << "its own address";
                return ((leaf->flags & format.read) != 0 ? 1u : 0u) |
                       ((leaf->flags & format.write) != 0 ? 2u : 0u);
            });
        }
        return 0;
    }

    // Free below 2 GiB but for what firmware keeps there, and a second of free memory above 4 GiB.
    const std::vector<E820> map_ = {{0, 0x7d00'0000, 1},
                                    {0x7d00'0000, 0x80'0000, 2},
                                    {0x7d80'0000, 0x280'0000, 1},
                                    {0x8000'0000, 0x1000'0000, 2},
                                    {0x1'0000'0000, 0x4000'0000, 1}};
    MemoryMap memory_;
    Frames frames;
    Spaces spaces{frames, GetParam(), memory_};
};

constexpr DmaFormat amd{DmaFormat::Entries::amd_vi, 4, 2, 1ull << 46};
constexpr DmaFormat intel{DmaFormat::Entries::vtd, 4, 2, 1ull << 46};
constexpr DmaFormat three{DmaFormat::Entries::vtd, 3, 1, 1ull << 39};
INSTANTIATE_TEST_SUITE_P(, FirmwareMemoryTest, testing::Values(amd, intel, three),
                         [](const auto& test) {
                             return (test.param.entries == DmaFormat::Entries::vtd ? "vtd"
                                                                                   : "amd_vi") +
                                    std::to_string(test.param.levels);
                         });

TEST_P(FirmwareMemoryTest, EachFunctionReachesWhatIsItsOwn) {
    ASSERT_EQ(spaces.let_through(of(screen, 0x7d00'0000, 0x7d80'0000)), Answer::ok);
    ASSERT_EQ(spaces.let_through(of(usb, 0x8000'1000, 0x8000'3000, true, false)), Answer::ok);
    ASSERT_EQ(spaces.let_through(of(usb, 0xe000'0000, 0xe000'1000)), Answer::ok)
        << "no memory at all";
    ASSERT_EQ(spaces.spaces().size(), 2u);
    EXPECT_EQ(reach(screen, 0x7d00'0000), 3u);
    EXPECT_EQ(reach(screen, 0x7d7f'f000), 3u);
    EXPECT_EQ(reach(screen, 0x7d80'0000), 0u);
    EXPECT_EQ(reach(screen, 0x7cff'f000), 0u);
    EXPECT_EQ(reach(screen, 0x8000'1000), 0u) << "the other one's";
    EXPECT_EQ(reach(usb, 0x8000'0000), 0u);
    EXPECT_EQ(reach(usb, 0x8000'1000), 1u);
    EXPECT_EQ(reach(usb, 0x8000'2000), 1u);
    EXPECT_EQ(reach(usb, 0x8000'3000), 0u);
    EXPECT_EQ(reach(usb, 0xe000'0000), 3u);
    EXPECT_EQ(reach(usb, 0x7d00'0000), 0u);
}

TEST_P(FirmwareMemoryTest, RamIsAnybodys) {
    for (const auto& [begin, end] : {std::pair{0ull, kib4},
                                     {0x1000'0000ull, 0x1000'1000ull},
                                     {0x7cff'f000ull, 0x7d00'1000ull},
                                     {0x7d7f'f000ull, 0x7d80'1000ull},
                                     {0x7d00'0000ull, 0x8000'0000ull},
                                     {0xf000'0000ull, 0x1'0000'1000ull}})
        EXPECT_EQ(spaces.let_through(of(usb, begin, end)), Answer::is_ram) << begin;
    EXPECT_TRUE(spaces.spaces().empty());
    EXPECT_TRUE(frames.used.empty());
}

TEST_P(FirmwareMemoryTest, WhatCannotBe) {
    const std::uint64_t reach_end = GetParam().end;
    EXPECT_EQ(spaces.let_through(of(usb, 0x8000'1000, 0x8000'1000)), Answer::unmappable);
    EXPECT_EQ(spaces.let_through(of(usb, 0x8000'2000, 0x8000'1000)), Answer::unmappable);
    EXPECT_EQ(spaces.let_through(of(usb, 0xfee0'0000, 0xfee0'1000)), Answer::unmappable);
    EXPECT_EQ(spaces.let_through(of(usb, 0xfedf'f000, 0xfee0'1000)), Answer::unmappable);
    EXPECT_EQ(spaces.let_through(of(usb, 0xfeef'f000, 0xfef0'1000)), Answer::unmappable);
    EXPECT_EQ(spaces.let_through(of(usb, reach_end - kib4, reach_end + kib4)), Answer::unmappable);
    EXPECT_EQ(spaces.let_through(of(usb, ~0xfffull - kib4, ~0xfffull)), Answer::unmappable);
    // Leaves without end: from an odd page on, 16 MiB and one.
    ASSERT_EQ(spaces.let_through(of(usb, 0x8000'1000, 0x8020'0000)), Answer::ok);
    const std::uint64_t far = 0x20'0000'1000;
    EXPECT_EQ(spaces.let_through(
                  of(screen, far,
                     far + 5000 * (GetParam().largest_leaf == 2 ? std::uint64_t{1} << 30 : mib2))),
              Answer::unmappable);
    EXPECT_EQ(reach(screen, far), 0u);
}

TEST_P(FirmwareMemoryTest, SaidTwiceAndInParts) {
    ASSERT_EQ(spaces.let_through(of(usb, 0x8000'0000, 0x8020'0000)), Answer::ok);
    ASSERT_EQ(spaces.let_through(of(usb, 0x8000'0000, 0x8020'0000)), Answer::ok);
    ASSERT_EQ(spaces.let_through(of(usb, 0x801f'f000, 0x8020'2000)), Answer::ok);
    EXPECT_EQ(reach(usb, 0x8000'0000), 3u);
    EXPECT_EQ(reach(usb, 0x8020'1000), 3u);
    EXPECT_EQ(reach(usb, 0x8020'2000), 0u);
    EXPECT_EQ(spaces.spaces().size(), 1u);
}

TEST_P(FirmwareMemoryTest, NeitherReadNorWritten) {
    ASSERT_EQ(spaces.let_through(of(usb, 0x8000'0000, 0x8000'1000, false, false)), Answer::ok);
    EXPECT_EQ(reach(usb, 0x8000'0000), 0u);
}

TEST_P(FirmwareMemoryTest, WhenRoomEnds) {
    frames.left = 2;
    EXPECT_EQ(spaces.let_through(of(usb, 0x8000'0000, 0x8000'1000)), Answer::no_room);
    EXPECT_EQ(reach(usb, 0x8000'0000), 0u) << "a root and a part of what is below";
    frames.left = 0;
    EXPECT_EQ(spaces.let_through(of(screen, 0x8000'0000, 0x8000'1000)), Answer::no_room);
    frames.left = 500;
    for (unsigned r = 0; r < Spaces::max_functions - 1; ++r)
        ASSERT_EQ(
            spaces.let_through(of(static_cast<Requester>(0x100 + r), 0x8000'0000, 0x8000'1000)),
            Answer::ok);
    EXPECT_EQ(spaces.let_through(of(0x200, 0x8000'0000, 0x8000'1000)), Answer::no_room);
    EXPECT_EQ(spaces.let_through(of(usb, 0x8000'0000, 0x8000'1000)), Answer::ok)
        << "it has its root";
}

}  // namespace
}  // namespace margay::iommu
