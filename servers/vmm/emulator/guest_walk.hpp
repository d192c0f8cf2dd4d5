#pragma once

#include "servers/vmm/devices/guest_memory.hpp"
#include "servers/vmm/emulator/cpu_mode.hpp"

#include <cstddef>
#include <cstdint>

namespace margay::vmm {

enum class AccessKind : std::uint8_t { read, write, fetch };

/// Bits of a page fault's error code (AMD APM vol. 2 §8.4.2).
namespace page_fault {
inline constexpr std::uint32_t present = 1 << 0;
inline constexpr std::uint32_t write = 1 << 1;
inline constexpr std::uint32_t user = 1 << 2;
inline constexpr std::uint32_t reserved = 1 << 3;
inline constexpr std::uint32_t fetch = 1 << 4;
}  // namespace page_fault

/// One page-table entry as it was read, to see later whether it still is the same.
struct WalkStep {
    const std::byte* entry;
    std::uint64_t value;
};

/// Where a linear page lies: the result of one walk.
struct PageTranslation {
    static constexpr std::uint8_t writable = 1;  ///< at every level
    static constexpr std::uint8_t user = 2;      ///< at every level
    static constexpr std::uint8_t executable = 4;
    static constexpr std::uint8_t dirty =
        8;  ///< the leaf's D bit is set: writes need no second walk

    std::uint64_t gpa;  ///< of the 4 KiB page
    std::byte* ram;     ///< the same page in our address space; nullptr: not RAM
    std::uint8_t rights;
    std::uint8_t steps;        ///< 0 without paging
    std::uint8_t entry_bytes;  ///< 4 or 8
    WalkStep step[5];
};

enum class WalkStatus : std::uint8_t {
    ok,
    page_fault,  ///< `error_code` is set
    no_table,    ///< a page table lies outside RAM
};

struct WalkResult {
    WalkStatus status;
    std::uint32_t error_code;
};

/// Translate `linear` as the processor would for an access of this kind at the mode's privilege (AMD APM
/// vol. 2 §5.2-§5.6, SMEP and SMAP; long mode, PAE, 32-bit with and without large pages). Sets accessed
/// bits, and the dirty bit for a write, unless the access faults. Accesses are explicit ones: descriptor
/// tables are not read by this. `linear` has been checked to be canonical.
[[nodiscard]] WalkResult walk(GuestMemory& memory, const CpuMode& mode, std::uint64_t cr3,
                              std::uint64_t linear, AccessKind kind,
                              PageTranslation& translation) noexcept;

/// Whether a page with these rights allows the access: 0, or the page fault's error code.
[[nodiscard]] inline std::uint32_t check_rights(const CpuMode& mode, std::uint8_t rights,
                                                AccessKind kind) noexcept {
    const bool user_page = (rights & PageTranslation::user) != 0;
    const bool write = kind == AccessKind::write;
    const bool fetch = kind == AccessKind::fetch;
    bool allowed = true;
    if (mode.has(CpuMode::user)) {
        allowed = user_page && (!write || (rights & PageTranslation::writable) != 0);
    } else if (user_page && mode.has(fetch ? CpuMode::smep : CpuMode::smap)) {
        allowed = false;
    } else if (write && (rights & PageTranslation::writable) == 0) {
        allowed = !mode.has(CpuMode::write_protect);
    }
    if (allowed && (!fetch || (rights & PageTranslation::executable) != 0)) {
        return 0;
    }
    return page_fault::present | (write ? page_fault::write : 0) |
           (mode.has(CpuMode::user) ? page_fault::user : 0) |
           (fetch && mode.has(CpuMode::no_execute | CpuMode::smep) ? page_fault::fetch : 0);
}

}  // namespace margay::vmm
