#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

/// What CPUID returns.
struct CpuidResult {
    std::uint32_t eax;
    std::uint32_t ebx;
    std::uint32_t ecx;
    std::uint32_t edx;
};

inline constexpr unsigned cpuid_basic_leaves = 0x20;
inline constexpr unsigned cpuid_hypervisor_leaves = 0x11;
inline constexpr unsigned cpuid_extended_leaves = 0x22;
inline constexpr unsigned cpuid_entries = 80;

/// Where a leaf's answers are: `count` entries for sub-leaves 0..count-1. 0: all zero. A leaf without
/// sub-leaves has `ignores_subleaf`.
struct CpuidRange {
    std::uint8_t first;
    std::uint8_t count;
    std::uint8_t ignores_subleaf;
};

/// The guest's CPUID, computed once when the VM is created so that it does not change under the guest when
/// another VMM build takes over.
struct CpuidState {
    CpuidResult entry[cpuid_entries];
    CpuidRange basic[cpuid_basic_leaves];            ///< leaf 0 …
    CpuidRange hypervisor[cpuid_hypervisor_leaves];  ///< leaf 0x4000'0000 …
    CpuidRange extended[cpuid_extended_leaves];      ///< leaf 0x8000'0000 …
    std::uint8_t used;                               ///< entries in use
    std::uint8_t overflow;                           ///< a leaf did not fit (checked by a test)
    std::uint8_t reserved[5];
};

MARGAY_STATE(CpuidState, "cpuid", 1, 1, section_flag::critical | section_flag::constant, entry,
             basic, hypervisor, extended, used, overflow, reserved);

}  // namespace margay::vmm
