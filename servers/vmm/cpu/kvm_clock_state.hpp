#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

/// See StealTime. One field of the section: what it consists of is frozen.
struct StealState {
    static constexpr std::uint64_t nothing_seen = ~std::uint64_t{0};

    std::uint64_t msr;      ///< 0x4b564d03: address, bit 0 enable
    std::uint64_t ns;       ///< as the guest was told
    std::uint64_t seen;     ///< of what the kernel counts, in ticks of the host's TSC
    std::uint32_t version;  ///< of the structure that the guest reads; even
    std::uint32_t reserved;
};

/// What KVM's guests are told in their memory.
struct KvmClockState {
    std::uint64_t system_time;   ///< MSR 0x4b564d01: address, bit 0 enable
    std::uint64_t wall_clock;    ///< MSR 0x4b564d00: address
    std::uint32_t version;       ///< of the structure at system_time; even
    std::uint32_t wall_version;  ///< of the structure at wall_clock; even
    std::uint32_t tsc_to_system_mul;
    std::int8_t tsc_shift;
    std::uint8_t reserved[3];
    StealState steal;
};

MARGAY_STATE(KvmClockState, "kvm_clock", 2, 1, section_flag::critical, system_time, wall_clock,
             version, wall_version, tsc_to_system_mul, tsc_shift, reserved, steal);
/// Builds with an older one leave the marks that they find: vCPUs would be taken for stopped while they run. A vCPU alone
/// in its VM is never marked.
inline constexpr std::uint32_t kvm_clock_with_marks = 2;

}  // namespace margay::vmm
