// The device-state region: everything of the VM that outlives the VMM and is not in the kernel.
#pragma once
#include <cstdint>

#include "proto/vmm.hpp"
#include "servers/vmm/board_state.hpp"

namespace margay::vmm {

struct VcpuGlueState {
    std::uint64_t
        host_tsc_at_start;         // host TSC when the VM was created: the guest's TSC starts at 0
    std::uint64_t tsc_adjust;      // what the guest added to its TSC since
    std::uint64_t offered_vector;  // interrupt given to the hardware and not taken, or no_vector
    std::uint64_t armed_deadline_ns;  // what the kernel was asked for
    std::uint8_t halted;              // the guest executed HLT
    std::uint8_t input_held;          // `input` was typed but the UART has had no room for it yet
    char input;
    std::uint8_t reserved[5];
};

struct Region {
    VcpuGlueState vcpu;
    BoardState board;
};
static_assert(sizeof(Region) <= device_state_bytes);

}  // namespace margay::vmm
