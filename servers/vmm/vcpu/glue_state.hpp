#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

/// What the glue between vCPU and board must remember.
struct VcpuGlueState {
    std::uint64_t
        host_tsc_at_start;     ///< host TSC when the VM was created: the guest's TSC starts at 0
    std::uint64_t tsc_adjust;  ///< what the guest added to its TSC since
    std::uint64_t offered_vector;  ///< interrupt given to the hardware and not taken, or no_vector
    std::uint64_t armed_deadline_ns;  ///< what the kernel was asked for
    std::uint8_t halted;              ///< the guest executed HLT
    std::uint8_t started;  ///< the startup exit is committed; before that the VM can be made anew
    std::uint8_t awaits_startup;      ///< INIT has stopped it; a start-up message lets it go
    std::uint8_t is_off;              ///< it sleeps with interrupts off
    std::uint8_t kicked;              ///< its halt, or the next one, is to end: see KvmCallTargets
    std::uint8_t waits_for_function;  ///< 1 + the PCI function of the VM that is to become so; or 0
    std::uint8_t reserved[2];
};

MARGAY_STATE(VcpuGlueState, "vcpu", 4, 1, section_flag::critical, host_tsc_at_start, tsc_adjust,
             offered_vector, armed_deadline_ns, halted, started, awaits_startup, is_off, kicked,
             waits_for_function, reserved);

}  // namespace margay::vmm
