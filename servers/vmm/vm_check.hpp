#pragma once

#include "servers/vmm/state/exit_numbers.hpp"
#include "servers/vmm/state/refusal.hpp"
#include "servers/vmm/vm_state.hpp"

namespace margay::vmm {

/// Whether the values in the sections are such that the devices can go on with them: the ranges that their
/// structs name. A VMM that has gone astray, or an enemy's, may have left anything. `exits`: what those that are to be
/// undone have changed counts as it was before.
/// `has_functions`: see vm_layout().
[[nodiscard]] Refusal check_values(const VmState& state, std::span<const ExitNumbers> exits,
                                   bool has_functions = false);
[[nodiscard]] Refusal check_values(const CpuState& state, std::span<const ExitNumbers> exits);

}  // namespace margay::vmm
