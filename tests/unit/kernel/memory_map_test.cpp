#include "ukernel/memory/memory_map.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace margay {
namespace {

struct Entry {
    std::uint64_t base, length;
    std::uint32_t type, padding = 0;
};
constexpr std::uint64_t KiB = 1 << 10, MiB = 1 << 20, GiB = 1 << 30, TiB = 1ull << 40;
constexpr std::uint64_t reach = 1ull << 46;
constexpr std::uint32_t usable = 1, reserved = 2, tables = 3, nvs = 4, bad = 5;

std::unique_ptr<MemoryMap> map_of(const std::vector<Entry>& entries, std::uint64_t end = reach) {
    auto map = std::make_unique<MemoryMap>();
    map->build({reinterpret_cast<const std::uint8_t*>(entries.data()), sizeof(Entry),
                static_cast<std::uint32_t>(entries.size())},
               HostPhys{end});
    return map;
}

// What a page is, asked of the whole list: 0 nothing is said, else 1 + RamKind. Free only if all of it is.
int page_is(const std::vector<Entry>& entries, std::uint64_t page) {
    const std::uint64_t page_last = page + 4095;
    int worst = 0;
    for (const Entry& e : entries) {
        if (e.length == 0) continue;
        const std::uint64_t last =
            e.base + (e.length - 1) < e.base ? ~0ull : e.base + (e.length - 1);
        if (e.base > page_last || last < page) continue;
        worst = std::max(worst, e.type == usable ? 1 : e.type == tables || e.type == nvs ? 2 : 3);
    }
    if (worst != 1) return worst;
    for (std::uint64_t byte = page; byte <= page_last;) {
        std::uint64_t next = byte;
        for (const Entry& e : entries)
            if (e.type == usable && e.base <= byte && e.length > byte - e.base)
                next = std::max<std::uint64_t>(
                    next, e.base + e.length < e.base ? ~0ull : e.base + e.length);
        if (next == byte) return 0;
        byte = next;
    }
    return 1;
}

// Order, disjointness, and each page next to a boundary as the list says.
void check(const std::vector<Entry>& entries, const char* what) {
    SCOPED_TRACE(what);
    const auto map = map_of(entries);
    HostPhys last{0};
    for (const MemoryRange& r : *map) {
        EXPECT_LE(last, r.begin);
        EXPECT_LT(r.begin, r.end);
        EXPECT_EQ((r.begin.value() | r.end.value()) % 4096, 0u);
        last = r.end;
    }
    EXPECT_LE(last.value(), reach);
    std::vector<std::uint64_t> pages;
    for (const Entry& e : entries)
        for (const std::uint64_t at : {e.base, e.base + e.length})
            for (std::int64_t d = -2; d <= 2; ++d)
                pages.push_back((at & ~4095ull) + static_cast<std::uint64_t>(d * 4096));
    for (const std::uint64_t page : pages) {
        if (page >= reach) continue;
        int found = 0;
        for (const MemoryRange& r : *map)
            if (page >= r.begin.value() && page < r.end.value())
                found = 1 + static_cast<int>(r.kind);
        EXPECT_EQ(found, page_is(entries, page)) << std::hex << page;
    }
}

std::string text(const MemoryMap& map) {
    std::string s;
    char line[64];
    for (const MemoryRange& r : map) {
        std::snprintf(
            line, sizeof(line), "%llx-%llx %c;", static_cast<unsigned long long>(r.begin.value()),
            static_cast<unsigned long long>(r.end.value()), "fwr"[static_cast<int>(r.kind)]);
        s += line;
    }
    return s;
}

// Maps modelled on those that machines of each kind have.

TEST(MemoryMap, Qemu) {
    const std::vector<Entry> e{{0, 0x9fc00, usable},
                               {0x9fc00, 0x400, reserved},
                               {0xf0000, 0x10000, reserved},
                               {0x100000, 0x1fedf000, usable},
                               {0x1ffdf000, 0x21000, reserved},
                               {0xb0000000, 0x10000000, reserved},
                               {0xfed1c000, 0x4000, reserved},
                               {0xfffc0000, 0x40000, reserved}};
    check(e, "q35");
    EXPECT_EQ(text(*map_of(e)),
              "0-9f000 f;9f000-a0000 r;f0000-100000 r;100000-1ffdf000 f;1ffdf000-20000000 r;"
              "b0000000-c0000000 r;fed1c000-fed20000 r;fffc0000-100000000 r;");
}

TEST(MemoryMap, Bochs) {
    const std::vector<Entry> e{{0, 0x9f000, usable},          {0x9f000, 0x1000, reserved},
                               {0xe8000, 0x18000, reserved},  {0x100000, 0x1fef0000, usable},
                               {0x1fff0000, 0x10000, tables}, {0xfffc0000, 0x40000, reserved}};
    check(e, "Bochs");
    EXPECT_TRUE(map_of(e)->is_free(HostPhys{0x100000}, HostPhys{0x1fff0000}));
    EXPECT_FALSE(map_of(e)->is_free(HostPhys{0x100000}, HostPhys{0x1fff1000}));
}

// The last kilobytes of RAM belong to ACPI, and the border is no page's.
TEST(MemoryMap, BiosLaptop) {
    const std::vector<Entry> e{{0, 0x9dc00, usable},
                               {0x9dc00, 0x2400, reserved},
                               {0xd2000, 0x2000, reserved},
                               {0xe0000, 0x20000, reserved},
                               {0x100000, 0x7f5ae800 - 0x100000, usable},
                               {0x7f5ae800, 0x7f5b5000 - 0x7f5ae800, tables},
                               {0x7f5b5000, 0x7f600000 - 0x7f5b5000, nvs},
                               {0x7f600000, 0xa00000, reserved},
                               {0xe0000000, 0x10000000, reserved},
                               {0xfec00000, 0x10000, reserved},
                               {0xff000000, 0x1000000, reserved}};
    check(e, "laptop");
    EXPECT_TRUE(map_of(e)->is_free(HostPhys{0x100000}, HostPhys{0x7f5ae000}));
    EXPECT_NE(text(*map_of(e)).find("7f5ae000-7f600000 w;"), std::string::npos)
        << "the shared page is firmware's; tables and NVS are one range";
}

// Islands of NVS and tables within RAM, sharing their pages with it on both sides.
TEST(MemoryMap, NvsInTheMiddle) {
    const std::vector<Entry> e{{0x100000, 0x3ff00000, usable},  {0x40000000, 0x123400, usable},
                               {0x40123400, 0x800, nvs},        {0x40123c00, 0x400, tables},
                               {0x40124000, 0x1000, usable},    {0x40125000, 0x10, nvs},
                               {0x40125010, 0x10000000, usable}};
    check(e, "NVS");
    EXPECT_EQ(text(*map_of(e)), "100000-40123000 f;40123000-40124000 w;40124000-40125000 "
                                "f;40125000-40126000 w;40126000-50125000 f;");
}

// Three hundred descriptors, as a UEFI boot leaves them: boot services beside runtime services and tables.
TEST(MemoryMap, UefiServer) {
    std::vector<Entry> e{{0, 0xa0000, usable}, {0x100000, 0x700000, usable}};
    std::uint64_t at = 0x800000;
    for (unsigned i = 0; i < 300; ++i) {
        const std::uint64_t size = (1 + i % 7) * 64 * KiB;
        e.push_back({at, size,
                     i % 10 == 3   ? reserved
                     : i % 10 == 7 ? nvs
                     : i % 10 == 9 ? tables
                                   : usable});
        at += size;
    }
    e.push_back({0x100000000, 510 * GiB, usable});
    check(e, "UEFI");
    const auto map = map_of(e);
    EXPECT_LT(map->size(), 200u) << "neighbours of a kind are one range";
    EXPECT_EQ(map->without_room(), 0u);
}

TEST(MemoryMap, CloudInstance) {
    check({{0, 0x9e000, usable},
           {0x9e000, 0x2000, reserved},
           {0xe0000, 0x20000, reserved},
           {0x100000, 0xbffe9000 - 0x100000, usable},
           {0xbffe9000, 0xc0000000 - 0xbffe9000, reserved},
           {0xe0000000, 0x3b000, reserved},
           {0xfc000000, 0x4000000, reserved},
           {0x100000000, 0x33c000000, usable}},
          "cloud");
}

// Eight nodes of memory with holes between them, up to 12 TiB.
TEST(MemoryMap, NumaServerWithHoles) {
    std::vector<Entry> e{
        {0, 0x9fc00, usable}, {0x100000, 0x7ff00000, usable}, {0xfd000000, 0x3000000, reserved}};
    for (unsigned node = 0; node < 8; ++node)
        e.push_back(
            {node * 1536 * GiB + (node == 0 ? 4 * GiB : 16 * GiB), 1536 * GiB - 64 * GiB, usable});
    check(e, "NUMA");
    EXPECT_TRUE(map_of(e)->is_free(HostPhys{9 * TiB + 16 * GiB}, HostPhys{10 * TiB}));
}

TEST(MemoryMap, UnsortedAndOverlapping) {
    const std::vector<Entry> e{{0x80000000, 0x1000000, usable},
                               {0x100000, 0x80f00000, usable},
                               {0, 0xa0000, usable},
                               {0x7ff00000, 0x200000, reserved},
                               {0x7fff0000, 0x20000, tables},
                               {0x90000, 0x80000, reserved}};
    check(e, "overlapping");
    EXPECT_EQ(text(*map_of(e)),
              "0-90000 f;90000-110000 r;110000-7ff00000 f;7ff00000-80100000 r;80100000-81000000 f;")
        << "RAM that is said twice is there once";
}

TEST(MemoryMap, ReservedWithinRam) {
    const std::vector<Entry> e{{0x100000, 0x100000000, usable},
                               {0x20000800, 0x10, reserved},
                               {0x30000fff, 2, bad},
                               {0x40000000, 0x1000, 12}};
    check(e, "reserved");
    EXPECT_EQ(text(*map_of(e)),
              "100000-20000000 f;20000000-20001000 r;20001000-30000000 f;30000000-30002000 r;"
              "30002000-40000000 f;40000000-40001000 r;40001000-100100000 f;");
}

TEST(MemoryMap, EmptyRangesAndPartsOfPages) {
    const std::vector<Entry> e{{0x100000, 0, usable},
                               {0x200000, 0, reserved},
                               {0x200000, 0x800, usable},
                               {0x200800, 0x800, usable},
                               {0x300010, 0xff0, usable},
                               {0x400000, 0xfff, usable},
                               {0, 0, 0}};
    check(e, "empty");
    EXPECT_EQ(text(*map_of(e)), "200000-201000 f;")
        << "two halves make a page, parts of one do not";
}

TEST(MemoryMap, EndOfAllAddresses) {
    const std::vector<Entry> e{{0x100000, ~0ull, usable},
                               {~0ull - 0xfff, 0x1000, reserved},
                               {~0ull, 1, nvs},
                               {0xffff'ffff'ffff'f800, 0x10000, tables},
                               {1ull << 52, TiB, reserved}};
    check(e, "end");
    const auto map = map_of(e);
    EXPECT_EQ(text(*map), "100000-400000000000 f;");
    EXPECT_GT(map->beyond_end(), 0u);
}

TEST(MemoryMap, MoreThanTheProcessorReaches) {
    const auto map =
        map_of({{0, 0xa0000, usable}, {0x100000, 2 * TiB, usable}, {3 * TiB, TiB, usable}}, TiB);
    EXPECT_EQ(text(*map), "0-a0000 f;100000-10000000000 f;");
    EXPECT_EQ(map->beyond_end(), TiB + MiB + TiB);
}

TEST(MemoryMap, MoreRangesThanThereIsRoomFor) {
    std::vector<Entry> e;
    for (std::uint64_t i = 0; i < MemoryMap::capacity + 9; ++i)
        e.push_back({i * MiB, 64 * KiB, usable});
    const auto map = map_of(e);
    EXPECT_EQ(map->size(), MemoryMap::capacity);
    EXPECT_EQ(map->without_room(), 9 * 64 * KiB);
}

TEST(MemoryMap, NothingAtAll) {
    EXPECT_EQ(map_of({})->size(), 0u);
    EXPECT_FALSE(map_of({})->is_free(HostPhys{0}, HostPhys{1}));
}

TEST(MemoryMap, RandomLists) {
    std::mt19937_64 random{7};
    for (unsigned n = 0; n < 400; ++n) {
        std::vector<Entry> e(1 + random() % 24);
        for (Entry& x : e)
            x = {random() % (64 * MiB) & ~(random() % 4 != 0 ? 0xfffull : 0), random() % (8 * MiB),
                 static_cast<std::uint32_t>(random() % 6)};
        check(e, std::to_string(n).c_str());
    }
}

}  // namespace
}  // namespace margay
