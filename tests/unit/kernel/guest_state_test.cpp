#include "ukernel/arch/x86_64/guest_state.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>

namespace margay {
namespace {

using guest_state::Limits;
using guest_state::System;

constexpr Limits limits{0x3007ff, 40};
constexpr std::uint64_t pg = cpu::cr0::pg, pe = cpu::cr0::pe;
constexpr std::uint64_t lme = cpu::efer::lme, pae = cpu::cr4::pae;
constexpr System real{0x10, 0, 0, 0, 0xfff0, 2, 0x9b};
constexpr System protected_mode{pe | 0x10, 0, 0, 0, 0x1000, 2, 0xc9b};
constexpr System long_mode{pg | pe | 0x10,           0x1000, pae,  lme | cpu::efer::lma,
                           0xffff'ffff'8100'0000ull, 2,      0xa9b};

TEST(GuestState, ModesThatGuestsLiveIn) {
    EXPECT_TRUE(is_valid(real, limits));
    EXPECT_TRUE(is_valid(protected_mode, limits));
    EXPECT_TRUE(is_valid(long_mode, limits));
    System compatible = long_mode;
    compatible.cs = 0xc9b, compatible.rip = 0x1000;
    EXPECT_TRUE(is_valid(compatible, limits));
    System before_paging = protected_mode;
    before_paging.efer = lme, before_paging.cr4 = pae;
    EXPECT_TRUE(is_valid(before_paging, limits));
}

// Every combination of the bits that rules relate, against the manual's list.
TEST(GuestState, EveryCombinationOfModeBits) {
    for (unsigned n = 0; n < 1 << 9; ++n) {
        const auto bit = [n](unsigned i) { return (n >> i & 1) != 0; };
        System s{};
        s.rip = 0x1000;
        if (bit(0)) s.cr0 |= pe;
        if (bit(1)) s.cr0 |= pg;
        if (bit(2)) s.cr4 |= pae;
        if (bit(3)) s.efer |= lme;
        if (bit(4)) s.cs |= guest_state::cs_long;
        if (bit(5)) s.cs |= guest_state::cs_default;
        if (bit(6)) s.cr0 |= cpu::cr0::nw;
        if (bit(7)) s.cr0 |= cpu::cr0::cd;
        if (bit(8)) s.rflags |= guest_state::rflags_vm;
        const bool in_long_mode = bit(1) && bit(3);
        const bool refused = (bit(6) && !bit(7)) || (bit(1) && !bit(0)) ||
                             (in_long_mode && (!bit(2) || (bit(4) && bit(5)) || bit(8)));
        EXPECT_EQ(is_valid(s, limits), !refused) << std::hex << n;
    }
}

TEST(GuestState, ReservedBits) {
    for (unsigned i = 0; i < 64; ++i) {
        const std::uint64_t bit = 1ull << i;
        System s = long_mode;
        s.cr0 |= bit;
        EXPECT_EQ(is_valid(s, limits), (0xc005003full >> i & 1) != 0) << "CR0 " << i;
        s = long_mode;
        s.cr4 |= bit;
        EXPECT_EQ(is_valid(s, limits), (limits.cr4 >> i & 1) != 0) << "CR4 " << i;
        s = long_mode;
        s.cr3 |= bit;
        EXPECT_EQ(is_valid(s, limits), i < 40) << "CR3 " << i;
        s = protected_mode;
        s.cr3 |= bit;
        EXPECT_EQ(is_valid(s, limits), i < 32) << "CR3 outside long mode " << i;
    }
    System s = protected_mode;
    s.cr4 = cpu::cr4::pcide;
    EXPECT_FALSE(is_valid(s, {~0ull, 40})) << "PCIDs are for long mode";
}

TEST(GuestState, SupportedCr4) {
    EXPECT_EQ(guest_state::supported_cr4(0, 0, 0), 0x7ffu);
    EXPECT_EQ(guest_state::supported_cr4(~0u, ~0u, ~0u), 0xf71fffu);
    EXPECT_EQ(guest_state::supported_cr4(1 << 26, 0, 0), 0x7ffu | 1 << 18);
}

TEST(GuestState, InstructionPointer) {
    const struct {
        std::uint64_t rip;
        bool in_64_bits, in_32_bits;
    } cases[] = {{0, true, true},
                 {0xffff'ffff, true, true},
                 {0x1'0000'0000, true, false},
                 {0x7fff'ffff'ffff, true, false},
                 {0x8000'0000'0000, false, false},
                 {0xffff'7fff'ffff'ffff, false, false},
                 {0xffff'8000'0000'0000, true, false},
                 {~0ull, true, false}};
    for (const auto& c : cases) {
        System s = long_mode;
        s.rip = c.rip;
        EXPECT_EQ(is_valid(s, limits), c.in_64_bits) << std::hex << c.rip;
        s.cs = 0xc9b;
        EXPECT_EQ(is_valid(s, limits), c.in_32_bits) << std::hex << c.rip;
        s = protected_mode;
        s.rip = c.rip;
        EXPECT_EQ(is_valid(s, limits), c.in_32_bits) << std::hex << c.rip;
    }
    System s = long_mode;
    s.rip = 0x8000'0000'0000;
    s.cr4 |= cpu::cr4::la57;
    EXPECT_TRUE(is_valid(s, {~0ull, 52})) << "57 bits of address";
}

TEST(GuestState, Segments) {
    constexpr std::uint64_t far = 0xffff'8880'0000'0000, bad = 0x8000'0000'0000;
    for (unsigned i = 0; i < 6; ++i) {
        SegmentState segments[6] = {};
        EXPECT_TRUE(are_valid(segments, long_mode));
        segments[i].attributes = 0xfff;
        EXPECT_TRUE(are_valid(segments, long_mode));
        segments[i].attributes = 0x1000;
        EXPECT_FALSE(are_valid(segments, long_mode)) << i;
        segments[i] = {0, 0, 0, far};
        EXPECT_EQ(are_valid(segments, long_mode), i >= 4) << i;
        segments[i].base = bad;
        EXPECT_FALSE(are_valid(segments, long_mode)) << i;
    }
    for (unsigned i = 0; i < 4; ++i) {
        SegmentState tables[4] = {};
        tables[i].base = far;
        EXPECT_TRUE(are_valid(tables, long_mode));
        tables[i].base = bad;
        EXPECT_FALSE(are_valid(tables, long_mode)) << i;
    }
}

TEST(GuestState, PageAttributeTable) {
    EXPECT_TRUE(guest_state::is_valid_pat(0x0007040600070406));
    for (unsigned slot = 0; slot < 8; ++slot)
        for (std::uint64_t type = 0; type < 256; ++type) {
            const bool exists = type == 0 || type == 1 || (type >= 4 && type <= 7);
            EXPECT_EQ(guest_state::is_valid_pat(type << 8 * slot), exists) << type;
        }
}

TEST(GuestState, Events) {
    using namespace event_injection;
    constexpr unsigned reserved[] = {2, 9, 15, 20, 22, 23, 24, 25, 26, 27, 31};
    constexpr unsigned with_error[] = {8, 10, 11, 12, 13, 14, 17, 21, 29, 30};
    for (std::uint64_t vector = 0; vector < 256; ++vector) {
        const bool exists = vector < 32 && std::find(std::begin(reserved), std::end(reserved),
                                                     vector) == std::end(reserved);
        const bool has =
            std::find(std::begin(with_error), std::end(with_error), vector) != std::end(with_error);
        const std::uint64_t plain = valid | type_exception | vector, error = plain | has_error;
        EXPECT_EQ(is_valid_event(plain, protected_mode), exists && !has) << vector;
        EXPECT_EQ(is_valid_event(error | 5ull << error_shift, protected_mode), exists && has);
        EXPECT_EQ(is_valid_event(plain, real), exists) << "no error codes in real mode";
        EXPECT_EQ(is_valid_event(error, real), exists && has);
        EXPECT_EQ(is_valid_event(plain, long_mode), exists && !has && vector != 4 && vector != 5);
        EXPECT_TRUE(is_valid_event(valid | type_software | vector, long_mode));
        EXPECT_TRUE(is_valid_event(valid | type_nmi | vector, long_mode));
        EXPECT_FALSE(is_valid_event(valid | vector, long_mode)) << "external interrupt";
        for (const std::uint64_t type : {1, 5, 6, 7})
            EXPECT_FALSE(is_valid_event(valid | type << 8 | vector, long_mode));
        EXPECT_TRUE(is_valid_event(type_exception | vector, long_mode)) << "no event at all";
    }
    for (unsigned bit = 12; bit < 31; ++bit)
        EXPECT_FALSE(is_valid_event(valid | type_exception | 1 | 1ull << bit, long_mode)) << bit;
}

}  // namespace
}  // namespace margay
