#pragma once

#include "servers/vmm/state/refusal.hpp"
#include "servers/vmm/vm_state.hpp"

namespace margay::vmm {

/// Whether the values in the sections are such that the devices can go on with them: the ranges that their
/// structs name. A VMM that has gone astray, or an enemy's, may have left anything. `pending`: sequence number of
/// the exit that is to be undone, or 0: what it has changed counts as it was before.
[[nodiscard]] Refusal check_values(const VmState& state, std::uint64_t pending);

}  // namespace margay::vmm
