// Entries of VT-d's second-level page tables (Intel Virtualization Technology for Directed I/O specification §9.8).
#pragma once
#include <cstdint>

#include "support/address.hpp"

namespace margay {

struct VtdFormat {
    static constexpr std::uint64_t read = 1 << 0, write = 1 << 1;
    static constexpr std::uint64_t large = 1 << 7;
    static constexpr std::uint64_t address_mask = 0x000f'ffff'ffff'f000;

    // An entry without rights is not there.
    static constexpr bool is_present(std::uint64_t entry) { return (entry & (read | write)) != 0; }
    static constexpr bool is_leaf(std::uint64_t entry, unsigned level) {
        return level == 0 || (entry & large) != 0;
    }
    static std::uint64_t leaf(std::uint64_t physical, std::uint64_t flags, unsigned level) {
        return physical | flags | (level != 0 ? large : 0) | snoop;
    }
    // Rights are the conjunction of those on the way: here they are all given, and the leaf decides.
    static constexpr std::uint64_t table(HostPhys next, unsigned) {
        return next.value() | read | write;
    }

    // Set once, before there is any table. Whatever a function asks for, its DMA sees what is in caches, where all units
    // can do that: else it would see what was in memory before that was cleared.
    static constexpr std::uint64_t force_snoop = 1 << 11;
    static inline std::uint64_t snoop = 0;
    // Some units read tables past the caches.
    static inline bool is_snooped = true;
    static void written(const std::uint64_t* entries, std::uint64_t count) {
        asm volatile("" : : : "memory");
        if (is_snooped) return;
        constexpr std::uint64_t line = 64;
        const auto begin = reinterpret_cast<std::uintptr_t>(entries) & ~(line - 1);
        const auto end = reinterpret_cast<std::uintptr_t>(entries + count);
        for (std::uintptr_t at = begin; at < end; at += line)
            asm volatile("clflush (%0)" : : "r"(at) : "memory");
        asm volatile("mfence" : : : "memory");
    }
};

}  // namespace margay
