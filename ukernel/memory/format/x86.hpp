// Entries of page tables in the x86 long-mode format, which nested page tables share
// (AMD APM vol. 2 §5.3, §15.25).
#pragma once
#include <cstdint>

#include "support/address.hpp"

namespace margay {

namespace pte {
constexpr std::uint64_t present = 1ull << 0;
constexpr std::uint64_t write = 1ull << 1;
constexpr std::uint64_t user = 1ull << 2;
constexpr std::uint64_t write_through = 1ull << 3;
constexpr std::uint64_t uncached = 1ull << 4;
constexpr std::uint64_t large = 1ull << 7;
constexpr std::uint64_t global = 1ull << 8;
constexpr std::uint64_t no_execute = 1ull << 63;
constexpr std::uint64_t address_mask = 0x000f'ffff'ffff'f000;
}  // namespace pte

struct X86Format {
    static constexpr std::uint64_t address_mask = pte::address_mask;
    static constexpr bool is_present(std::uint64_t entry) { return (entry & pte::present) != 0; }
    // Of a present entry in a table of that level (0: the lowest).
    static constexpr bool is_leaf(std::uint64_t entry, unsigned level) {
        return level == 0 || (entry & pte::large) != 0;
    }
    static constexpr std::uint64_t leaf(std::uint64_t physical, std::uint64_t flags,
                                        unsigned level) {
        return physical | flags | pte::present | (level != 0 ? pte::large : 0);
    }
    // To the next table, of level - 1. Rights are the leaves' business.
    static constexpr std::uint64_t table(HostPhys next, unsigned) {
        return next.value() | pte::present | pte::write | pte::user;
    }
    // What was stored before is there before what is stored now: whoever walks may do so at any time.
    static void written(const std::uint64_t*, std::uint64_t) { asm volatile("" : : : "memory"); }
};

}  // namespace margay
