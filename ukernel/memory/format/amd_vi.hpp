// Entries of AMD's I/O page tables (AMD I/O Virtualization Technology specification §2.2.3).
#pragma once
#include <cstdint>

#include "support/address.hpp"

namespace margay {

struct AmdViFormat {
    static constexpr std::uint64_t present = 1ull << 0;
    static constexpr std::uint64_t read = 1ull << 61;
    static constexpr std::uint64_t write = 1ull << 62;
    static constexpr unsigned next_level_shift = 9;
    static constexpr std::uint64_t address_mask = 0x000f'ffff'ffff'f000;

    static constexpr bool is_present(std::uint64_t entry) { return (entry & present) != 0; }
    // The level of the table that an entry leads to; 0: it is a leaf, of the size that its table gives it.
    static constexpr unsigned next_level(std::uint64_t entry) {
        return static_cast<unsigned>(entry >> next_level_shift) & 7;
    }
    static constexpr bool is_leaf(std::uint64_t entry, unsigned level) {
        return level == 0 || next_level(entry) == 0;
    }
    static constexpr std::uint64_t leaf(std::uint64_t physical, std::uint64_t flags, unsigned) {
        return physical | flags | present;
    }
    // The specification counts levels from 1: what is level 0 here is its level 1. Rights are the
    // conjunction of those on the way: here they are all given, and the leaf decides.
    static constexpr std::uint64_t table(HostPhys next, unsigned level) {
        return next.value() | present | read | write | std::uint64_t{level} << next_level_shift;
    }
    // What was stored before is there before what is stored now: whoever walks may do so at any time.
    static void written(const std::uint64_t*, std::uint64_t) { asm volatile("" : : : "memory"); }
};

}  // namespace margay
