#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

struct KvmClockState {
    std::uint64_t system_time;   ///< MSR 0x4b564d01: address, bit 0 enable
    std::uint64_t wall_clock;    ///< MSR 0x4b564d00: address
    std::uint32_t version;       ///< of the structure at system_time; even
    std::uint32_t wall_version;  ///< of the structure at wall_clock; even
    std::uint32_t tsc_to_system_mul;
    std::int8_t tsc_shift;
    std::uint8_t reserved[3];
};

MARGAY_STATE(KvmClockState, "kvm_clock", 1, 1, section_flag::critical, system_time, wall_clock,
             version, wall_version, tsc_to_system_mul, tsc_shift, reserved);

}  // namespace margay::vmm
