#include "ukernel/arch/x86_64/iommu/amd_vi/ivrs.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "bytes.hpp"

namespace margay::iommu {
namespace {

Bytes entry(std::uint8_t type, std::uint16_t id, std::uint8_t data = 0) {
    Bytes b{type};
    put(b, id);
    b.push_back(data);
    return b;
}
Bytes long_entry(std::uint8_t type, std::uint16_t id, std::uint8_t handle, std::uint16_t source,
                 std::uint8_t variety = 0) {
    Bytes b = entry(type, id) + Bytes{handle};
    put(b, source);
    b.push_back(variety);
    return b;
}
Bytes unit(std::uint64_t registers, const Bytes& entries, std::uint8_t type = 0x10,
           std::uint16_t segment = 0, std::uint8_t flags = 0xd1) {
    const unsigned header = type == 0x10 ? 24 : 40;
    Bytes b{type, flags};
    put(b, static_cast<std::uint16_t>(header + entries.size()));
    put(put(b, std::uint16_t{8}), std::uint16_t{0x40});
    put(put(b, registers), segment);
    b.resize(header);
    return b + entries;
}
Bytes reserved(std::uint8_t type, std::uint16_t first, std::uint16_t last, std::uint64_t begin,
               std::uint64_t size) {
    Bytes b{type, 0};
    put(put(put(b, std::uint16_t{32}), first), last);
    b.resize(16);
    return put(put(b, begin), size);
}
Bytes table(const Bytes& blocks, std::uint32_t info = 40 << 8) {
    Bytes t{'I', 'V', 'R', 'S'};
    put(t, static_cast<std::uint32_t>(48 + blocks.size()));
    t.resize(36);
    put(t, info);
    t.resize(48);
    return t + blocks;
}

constexpr std::uint64_t first = 0xfed80000, second = 0xfec40000;

struct IvrsTable : testing::Test {
    // At the very end of its memory: what reads further is found.
    bool parse(const Bytes& bytes) {
        const auto exact = std::make_unique<std::uint8_t[]>(bytes.size());
        std::copy(bytes.begin(), bytes.end(), exact.get());
        return parse_ivrs(exact.get(), static_cast<std::uint32_t>(bytes.size()), found);
    }
    Ivrs found;
};

// As QEMU 7.2 gives it: a function each, a root port's bus, what is behind a bridge, the I/O APIC.
TEST_F(IvrsTable, AUnitAndItsFunctions) {
    ASSERT_TRUE(parse(
        table(unit(first, entry(2, 0x20) + entry(2, 0x28) + entry(3, 0x100) + entry(4, 0x1ff) +
                              long_entry(0x43, 0x200, 0, 0x30) + entry(4, 0x2ff) + entry(0, 0) +
                              long_entry(0x48, 0, 0, 0xa0, 1) + long_entry(0x48, 0, 2, 0xa1, 2)))));
    ASSERT_EQ(found.unit_count, 1u);
    EXPECT_EQ(found.units[0].registers.value(), first);
    EXPECT_EQ(found.units[0].self, 8u);
    EXPECT_EQ(found.units[0].flags, 0xd1u);
    EXPECT_EQ(found.physical_bits, 40u);
    EXPECT_EQ(found.left_out, 0u);
    ASSERT_NE(found.range_of(0x20), nullptr);
    EXPECT_FALSE(found.range_of(0x20)->aliased);
    EXPECT_EQ(found.range_of(0x21), nullptr);
    ASSERT_NE(found.range_of(0x180), nullptr);
    EXPECT_FALSE(found.range_of(0x180)->aliased);
    ASSERT_NE(found.range_of(0x208), nullptr);
    EXPECT_TRUE(found.range_of(0x208)->aliased);
    EXPECT_EQ(found.range_of(0x208)->source, 0x30u);
    EXPECT_EQ(found.range_of(0x300), nullptr);
    ASSERT_EQ(found.special_count, 2u);
    EXPECT_TRUE(found.specials[0].is_io_apic);
    EXPECT_EQ(found.specials[0].source, 0xa0u);
    EXPECT_FALSE(found.specials[1].is_io_apic);
    EXPECT_EQ(found.specials[1].handle, 2u);
}

TEST_F(IvrsTable, TheNewestFormOfAUnitCounts) {
    for (const bool newest_first : {false, true}) {
        const Bytes old = unit(first, entry(1, 0)), newer = unit(first, entry(2, 0x40), 0x11, 0, 1);
        ASSERT_TRUE(parse(
            table((newest_first ? newer + old : old + newer) + unit(second, entry(2, 0x48)))));
        ASSERT_EQ(found.unit_count, 2u);
        EXPECT_EQ(found.units[0].flags, 1u);
        EXPECT_NE(found.range_of(0x40), nullptr);
        EXPECT_EQ(found.range_of(0x50), nullptr) << "the older form said all";
        EXPECT_EQ(found.range_of(0x48)->unit, 1u);
    }
}

TEST_F(IvrsTable, ALaterEntryCounts) {
    ASSERT_TRUE(parse(table(unit(first, entry(1, 0) + long_entry(0x42, 0x60, 0, 0x58)))));
    EXPECT_TRUE(found.range_of(0x60)->aliased);
    EXPECT_FALSE(found.range_of(0x61)->aliased);
}

TEST_F(IvrsTable, MemoryThatFirmwareUses) {
    ASSERT_TRUE(parse(table(unit(first, entry(1, 0)) + reserved(0x21, 0x10, 0, 0x1000, 0x2000) +
                            reserved(0x22, 0x80, 0x87, 0x9000, 0x1000) +
                            reserved(0x21, 0x18, 0, ~0ull, 2) + reserved(0x21, 0x19, 0, 0, 0))));
    ASSERT_EQ(found.reserved_count, 2u);
    EXPECT_EQ(found.reserved_of(0x10)->end.value(), 0x3000u);
    EXPECT_EQ(found.reserved_of(0x87)->begin.value(), 0x9000u);
    EXPECT_EQ(found.reserved_of(0x88), nullptr);
    EXPECT_FALSE(found.reserved_of(0x87)->reads || found.reserved_of(0x87)->writes);
    for (const auto& [flags, reads, writes] :
         {std::tuple{0x3, true, false}, {0x5, false, true}, {0x7, true, true}, {0x8, true, true}}) {
        Bytes block = reserved(0x21, 0x10, 0, 0x1000, 0x2000);
        block[1] = static_cast<std::uint8_t>(flags);
        ASSERT_TRUE(parse(table(unit(first, entry(1, 0)) + block)));
        EXPECT_EQ(found.reserved_of(0x10)->reads, reads) << flags;
        EXPECT_EQ(found.reserved_of(0x10)->writes, writes) << flags;
    }
    ASSERT_TRUE(parse(table(unit(first, entry(1, 0)) + reserved(0x20, 0, 0, 0x1000, 0x2000))));
    EXPECT_NE(found.reserved_of(0xffff), nullptr) << "everybody's";
}

TEST_F(IvrsTable, WhatIsOfNoUse) {
    EXPECT_FALSE(parse(table({})));
    EXPECT_FALSE(parse(Bytes{'I', 'V', 'R', 'S'}));
    EXPECT_FALSE(parse(table(unit(first, entry(1, 0), 0x10, 1))));
    EXPECT_EQ(found.left_out, 1u) << "another segment";
    EXPECT_FALSE(parse(table(unit(first + 4096, entry(1, 0))))) << "registers are 16 KiB";
    EXPECT_FALSE(parse(table(unit(0, entry(1, 0)))));
    Bytes other = table(unit(first, entry(1, 0)));
    other[0] = 'X';
    EXPECT_FALSE(parse(other));
}

TEST_F(IvrsTable, LengthsThatLie) {
    const Bytes good = table(unit(first, entry(2, 0x20) + long_entry(0x48, 0, 0, 0xa0, 1)));
    for (std::size_t length = 0; length < good.size(); ++length)
        (void)parse(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length)));
    for (unsigned i = 48; i < good.size(); ++i)
        for (const std::uint8_t value : {0, 1, 3, 4, 0x3f, 0x7f, 0xf0, 0xff}) {
            Bytes bad = good;
            bad[i] = value;
            (void)parse(bad);
        }
    // A hardware id's entry with a length of its own.
    Bytes hid = entry(0xf0, 0x20);
    hid.resize(22);
    hid[21] = 3;
    hid.resize(25);
    ASSERT_TRUE(parse(table(unit(first, hid + entry(2, 0x28)))));
    EXPECT_NE(found.range_of(0x28), nullptr) << "behind it";
    hid[21] = 200;
    ASSERT_TRUE(parse(table(unit(first, hid + entry(2, 0x28)))));
    EXPECT_EQ(found.range_of(0x28), nullptr);
    // An end without a beginning, and one before it.
    ASSERT_TRUE(parse(table(unit(first, entry(4, 0x28) + entry(3, 0x50) + entry(4, 0x40)))));
    EXPECT_EQ(found.range_count, 0u);
}

TEST_F(IvrsTable, MoreThanThereIsRoomFor) {
    Bytes units, entries, specials;
    for (unsigned i = 0; i < Ivrs::max_units + 2; ++i)
        units = units + unit(0x1'0000'0000 + i * 0x4000, entry(2, static_cast<std::uint16_t>(i)));
    ASSERT_TRUE(parse(table(units)));
    EXPECT_EQ(found.unit_count, Ivrs::max_units);
    EXPECT_EQ(found.left_out, 2u);
    for (unsigned i = 0; i < Ivrs::max_ranges + 3; ++i)
        entries = entries + entry(2, static_cast<std::uint16_t>(i));
    for (unsigned i = 0; i < Ivrs::max_specials + 1; ++i)
        specials = specials + long_entry(0x48, 0, static_cast<std::uint8_t>(i), 1, 1);
    ASSERT_TRUE(parse(table(unit(first, entries + specials))));
    EXPECT_EQ(found.range_count, Ivrs::max_ranges);
    EXPECT_EQ(found.special_count, Ivrs::max_specials);
    EXPECT_EQ(found.left_out, 4u);
}

TEST_F(IvrsTable, RandomBytes) {
    std::mt19937_64 random{7};
    for (unsigned n = 0; n < 20000; ++n) {
        Bytes b = table(unit(first, {}));
        const std::size_t more = random() % 200;
        for (std::size_t i = 0; i < more; ++i) b.push_back(static_cast<std::uint8_t>(random()));
        if (random() % 2 == 0) b[50] = static_cast<std::uint8_t>(random());
        (void)parse(b);
    }
}

}  // namespace
}  // namespace margay::iommu
