#include "ukernel/arch/x86_64/iommu/vtd/dmar.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>

#include "dmar_bytes.hpp"

namespace margay::iommu {
namespace {

using namespace dmar_bytes;

constexpr std::uint64_t first = 0xfed90000, second = 0xfed91000;

struct DmarTable : testing::Test {
    // At the very end of its memory: what reads further is found.
    bool parse(const Bytes& bytes) {
        const auto exact = std::make_unique<std::uint8_t[]>(bytes.size());
        std::copy(bytes.begin(), bytes.end(), exact.get());
        return parse_dmar(exact.get(), static_cast<std::uint32_t>(bytes.size()), found);
    }
    void expect_sound() const {
        EXPECT_LE(found.unit_count, Dmar::max_units);
        EXPECT_LE(found.reserved_count, Dmar::max_reserved);
        ASSERT_LE(found.scope_count, Dmar::max_scopes);
        ASSERT_LE(found.reserved_scope_count, Dmar::max_reserved_scopes);
        for (unsigned i = 0; i < found.scope_count; ++i) {
            const Dmar::Scope& s = found.scopes[i];
            EXPECT_TRUE(s.owner < found.unit_count || s.owner == Dmar::no_unit);
            EXPECT_TRUE(s.hop_count >= 1 && s.hop_count <= Dmar::max_hops);
        }
        for (unsigned i = 0; i < found.reserved_scope_count; ++i)
            EXPECT_LT(found.reserved_scopes[i].owner, found.reserved_count);
    }
    Dmar found;
};

TEST_F(DmarTable, AsTheEmulatorHasIt) {
    ASSERT_TRUE(parse(qemu()));
    ASSERT_EQ(found.unit_count, 1u);
    EXPECT_EQ(found.units[0].registers.value(), first);
    EXPECT_EQ(found.units[0].pages, 1u);
    EXPECT_FALSE(found.units[0].covers_others);
    EXPECT_EQ(found.catch_all, Dmar::no_unit);
    EXPECT_EQ(found.physical_bits, 39u);
    EXPECT_TRUE(found.remaps_interrupts);
    EXPECT_FALSE(found.opts_out_of_x2apic);
    EXPECT_EQ(found.left_out, 0u);
    EXPECT_EQ(found.reserved_count, 0u);
    ASSERT_EQ(found.scope_count, 7u);
    EXPECT_EQ(found.scopes[0].kind, Dmar::Kind::io_apic);
    EXPECT_EQ(found.scopes[0].enumeration, 0u);
    EXPECT_EQ(found.scopes[0].start_bus, 0xffu);
    EXPECT_EQ(found.scopes[0].hop_count, 1u);
    EXPECT_EQ(found.scopes[0].hops[0], 0u);
    EXPECT_EQ(found.scopes[3].kind, Dmar::Kind::bridge);
    EXPECT_EQ(found.scopes[3].hops[0], 3u << 3);
    EXPECT_EQ(found.scopes[6].kind, Dmar::Kind::endpoint);
    EXPECT_EQ(found.scopes[6].hops[0], 31u << 3 | 2);
}

TEST_F(DmarTable, AsServersHaveIt) {
    const Bytes remote = unit(second, scope(bridge, 0x17, {{0, 0}}) +
                                          scope(endpoint, 0x17, {{2, 0}, {5, 1}, {0, 7}}));
    const Bytes south =
        unit(first, scope(io_apic, 0xf0, {{31, 7}}, 8) + scope(hpet, 0, {{31, 0}}), true, 0, 1);
    const Bytes others = structure(2, Bytes(4) + scope(bridge, 0, {{1, 0}})) +
                         structure(3, Bytes(16)) + structure(4, Bytes(9)) + structure(5, Bytes(4)) +
                         structure(0x77, Bytes(3));
    ASSERT_TRUE(parse(table(others + remote + others + south, 45, 3)));
    ASSERT_EQ(found.unit_count, 2u);
    EXPECT_EQ(found.catch_all, 1u);
    EXPECT_TRUE(found.units[1].covers_others);
    EXPECT_EQ(found.units[1].pages, 2u);
    EXPECT_EQ(found.physical_bits, 46u);
    EXPECT_TRUE(found.opts_out_of_x2apic);
    EXPECT_EQ(found.left_out, 0u);
    ASSERT_EQ(found.scope_count, 4u);
    EXPECT_EQ(found.scopes[1].owner, 0u);
    ASSERT_EQ(found.scopes[1].hop_count, 3u);
    EXPECT_EQ(found.scopes[1].hops[1], 5u << 3 | 1);
    EXPECT_EQ(found.scopes[1].hops[2], 7u);
    EXPECT_EQ(found.scopes[2].owner, 1u);
    EXPECT_EQ(found.scopes[2].enumeration, 8u);
    EXPECT_EQ(found.scopes[3].kind, Dmar::Kind::hpet);
    ASSERT_TRUE(parse(table(south, 38, 0)));
    EXPECT_FALSE(found.remaps_interrupts) << "nothing of the table before";
    EXPECT_EQ(found.scope_count, 2u);
}

TEST_F(DmarTable, AUnitInPiecesIsOne) {
    ASSERT_TRUE(parse(table(unit(first, scope(endpoint, 0, {{2, 0}})) +
                            unit(second, scope(endpoint, 0, {{3, 0}})) +
                            unit(first, scope(endpoint, 0, {{4, 0}}), true, 0, 2))));
    EXPECT_EQ(found.unit_count, 2u);
    EXPECT_EQ(found.catch_all, 0u);
    EXPECT_EQ(found.units[0].pages, 4u);
    ASSERT_EQ(found.scope_count, 3u);
    EXPECT_EQ(found.scopes[2].owner, 0u);
}

// What such a unit sees is neither that of the one that covers others, nor nobody's.
TEST_F(DmarTable, AUnitThatIsLeftOutKeepsWhatItHas) {
    const Bytes all = unit(first, {}, true), some = scope(bridge, 0, {{3, 0}});
    for (const std::uint64_t registers : {0ull, 0xfed90800ull}) {
        ASSERT_TRUE(parse(table(all + unit(registers, some))));
        EXPECT_EQ(found.unit_count, 1u);
        EXPECT_EQ(found.left_out, 1u);
        EXPECT_EQ(found.catch_all, Dmar::no_unit);
        ASSERT_EQ(found.scope_count, 1u);
        EXPECT_EQ(found.scopes[0].owner, Dmar::no_unit);
    }
    ASSERT_TRUE(parse(table(all + unit(second, some, false, 1))));
    EXPECT_EQ(found.catch_all, 0u) << "another segment has buses of its own";
    EXPECT_EQ(found.scope_count, 0u);
    EXPECT_EQ(found.left_out, 1u);
}

TEST_F(DmarTable, MemoryThatFirmwareUses) {
    const Bytes usb = scope(endpoint, 0, {{20, 0}}), port = scope(bridge, 0, {{28, 0}});
    ASSERT_TRUE(parse(table(unit(first, {}, true) + reserved(0x7d000000, 0x7d7fffff, usb + port) +
                            reserved(0x9010, 0x9fff, port + scope(io_apic, 0, {{1, 0}})) +
                            reserved(0x2000, 0x1fff, usb) + reserved(0x1000, ~0ull, usb) +
                            reserved(0x1000, 0x1fff, usb, 1))));
    ASSERT_EQ(found.reserved_count, 2u);
    EXPECT_EQ(found.left_out, 3u);
    EXPECT_EQ(found.reserved[0].begin.value(), 0x7d000000u);
    EXPECT_EQ(found.reserved[0].end.value(), 0x7d800000u);
    EXPECT_EQ(found.reserved[1].begin.value(), 0x9000u);
    EXPECT_EQ(found.reserved[1].end.value(), 0xa000u);
    ASSERT_EQ(found.reserved_scope_count, 3u);
    EXPECT_EQ(found.reserved_scopes[1].owner, 0u);
    EXPECT_EQ(found.reserved_scopes[2].owner, 1u);
    EXPECT_EQ(found.scope_count, 0u) << "no unit's";
}

TEST_F(DmarTable, ScopesOfNoUse) {
    Bytes none = scope(endpoint, 0, {}),
          nine = scope(endpoint, 0,
                       {{1, 0}, {1, 0}, {1, 0}, {1, 0}, {1, 0}, {1, 0}, {1, 0}, {1, 0}, {1, 0}});
    const Bytes good = scope(endpoint, 0, {{5, 0}});
    ASSERT_TRUE(parse(table(unit(first, none + nine + scope(endpoint, 0, {{32, 0}}) +
                                            scope(bridge, 0, {{1, 0}, {1, 8}}) + good))));
    EXPECT_EQ(found.left_out, 4u);
    ASSERT_EQ(found.scope_count, 1u);
    EXPECT_EQ(found.scopes[0].hops[0], 5u << 3);
    // Kinds that are nobody's, and half a hop.
    Bytes odd = scope(endpoint, 0, {{6, 0}});
    odd.push_back(9);
    ++odd[1];
    ASSERT_TRUE(
        parse(table(unit(first, scope(0, 0, {{1, 0}}) + scope(5, 0, {{1, 0}}) + odd + good))));
    EXPECT_EQ(found.left_out, 0u);
    ASSERT_EQ(found.scope_count, 2u);
    EXPECT_EQ(found.scopes[0].hop_count, 1u);
    const Bytes eight =
        scope(endpoint, 0, {{1, 0}, {1, 0}, {1, 0}, {1, 0}, {1, 0}, {1, 0}, {1, 0}, {2, 3}});
    ASSERT_TRUE(parse(table(unit(first, eight))));
    EXPECT_EQ(found.scopes[0].hops[7], 2u << 3 | 3);
}

TEST_F(DmarTable, WhatIsOfNoUse) {
    EXPECT_FALSE(parse(table({})));
    EXPECT_FALSE(parse(Bytes{'D', 'M', 'A', 'R'}));
    EXPECT_FALSE(parse(table(unit(first, {}, true, 1))));
    EXPECT_EQ(found.left_out, 1u);
    EXPECT_FALSE(parse(table(unit(first + 8, {}, true))));
    EXPECT_FALSE(parse(table(reserved(0x1000, 0x1fff, scope(endpoint, 0, {{1, 0}})))));
    Bytes other = table(unit(first, {}));
    other[0] = 'X';
    EXPECT_FALSE(parse(other));
    EXPECT_EQ(found.unit_count, 0u);
}

TEST_F(DmarTable, LengthsThatLie) {
    const Bytes good =
        table(unit(first, scope(io_apic, 0xff, {{0, 0}}) + scope(bridge, 0, {{3, 0}, {0, 0}})) +
              reserved(0x1000, 0x1fff, scope(endpoint, 0, {{1, 0}})) + unit(second, {}, true));
    for (std::size_t length = 0; length < good.size(); ++length) {
        (void)parse(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length)));
        expect_sound();
    }
    for (unsigned i = 36; i < good.size(); ++i)
        for (unsigned value = 0; value < 256; ++value) {
            Bytes bad = good;
            bad[i] = static_cast<std::uint8_t>(value);
            (void)parse(bad);
            expect_sound();
        }
    // A structure that has no length, or one beyond the table's, ends it; a scope's ends its structure.
    Bytes endless = structure(9, {}), beyond = structure(9, {});
    endless[2] = 0;
    beyond[2] = 200;
    for (const Bytes& end : {endless, beyond}) {
        ASSERT_TRUE(parse(table(unit(first, {}) + end + unit(second, {}))));
        EXPECT_EQ(found.unit_count, 1u);
    }
    for (const std::uint8_t length : {0, 5, 9, 255}) {
        Bytes lies = scope(endpoint, 0, {{1, 0}});
        lies[1] = length;
        ASSERT_TRUE(parse(table(unit(first, scope(endpoint, 0, {{2, 0}}) + lies) +
                                unit(second, scope(endpoint, 0, {{3, 0}})))));
        EXPECT_EQ(found.unit_count, 2u);
        EXPECT_EQ(found.scope_count, 2u) << unsigned{length};
    }
    // Too short for what they are.
    EXPECT_FALSE(parse(table(structure(0, Bytes(11)))));
    ASSERT_TRUE(parse(table(unit(first, {}) + structure(1, Bytes(19, 0xff)))));
    EXPECT_EQ(found.left_out, 0u);
}

TEST_F(DmarTable, MoreThanThereIsRoomFor) {
    Bytes units, scopes, ranges;
    for (unsigned i = 0; i < Dmar::max_units + 2; ++i)
        units = units + unit(0x1'0000'0000 + i * 0x1000, scope(endpoint, 0, {{1, 0}}), i == 0);
    ASSERT_TRUE(parse(table(units)));
    EXPECT_EQ(found.unit_count, Dmar::max_units);
    EXPECT_EQ(found.left_out, 2u);
    EXPECT_EQ(found.catch_all, Dmar::no_unit);
    EXPECT_EQ(found.scopes[Dmar::max_units].owner, Dmar::no_unit);
    for (unsigned i = 0; i < Dmar::max_scopes + 3; ++i)
        scopes = scopes + scope(endpoint, static_cast<std::uint8_t>(i), {{1, 0}});
    for (unsigned i = 0; i < Dmar::max_reserved + 1; ++i)
        ranges = ranges + reserved(i * 0x1000, i * 0x1000 + 0xfff, scope(bridge, 0, {{1, 0}}));
    ASSERT_TRUE(parse(table(unit(first, scopes, true) + ranges)));
    EXPECT_EQ(found.scope_count, Dmar::max_scopes);
    EXPECT_EQ(found.reserved_count, Dmar::max_reserved);
    EXPECT_EQ(found.left_out, 4u);
    EXPECT_EQ(found.catch_all, 0u);
    ASSERT_TRUE(parse(table(unit(first, {}) + reserved(0, 0xfff, scopes))));
    EXPECT_EQ(found.reserved_scope_count, Dmar::max_reserved_scopes);
    EXPECT_EQ(found.left_out, Dmar::max_scopes + 3 - Dmar::max_reserved_scopes);
}

TEST_F(DmarTable, RandomBytes) {
    std::mt19937_64 random{7};
    for (unsigned n = 0; n < 20000; ++n) {
        Bytes b = random() % 2 == 0 ? qemu() : table(unit(first, {}));
        const std::size_t more = random() % 200;
        for (std::size_t i = 0; i < more; ++i)
            b.push_back(static_cast<std::uint8_t>(random() >> random() % 8));
        for (std::uint64_t i = random() % 4; i != 0; --i)
            b[36 + random() % (b.size() - 36)] = static_cast<std::uint8_t>(random());
        (void)parse(b);
        expect_sound();
    }
}

}  // namespace
}  // namespace margay::iommu
