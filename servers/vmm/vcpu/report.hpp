// What is said when a guest fails.
#pragma once
#include <string_view>

#include "proto/vcpu_state.hpp"
#include "proto/vm_control.hpp"

namespace margay::vmm {

// Registers and the last exits, on the VMM's log.
void report_failure(const VcpuState& state, std::string_view why);
// Leaves the reason for the supervisor, cut to what fits.
void set_reason(VmControl& control, std::string_view why);
// Leaves outcome `failed` and the reason for the supervisor.
void end_vm(VmControl& control, std::string_view why, VmOutcome outcome);

}  // namespace margay::vmm
