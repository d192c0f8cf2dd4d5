#pragma once

#include "servers/vmm/state/layout.hpp"
#include "servers/vmm/vm_state.hpp"

namespace margay::vmm {

/// How this build lays out the state of a VM and of its vCPU 0. The board's configuration comes first: the defaults of the
/// others depend on it.
/// Only where the VM `has_functions`, PCI functions, their sections are part of it: builds that do not know them must refuse
/// such a VM, and attaching to one that has none costs nothing for them.
[[nodiscard]] Layout vm_layout(bool has_functions = false) noexcept;

/// The state in a half that has this build's layout.
[[nodiscard]] VmState& vm_state(RegionHalf& half) noexcept;

/// The same for the region of a further vCPU.
[[nodiscard]] Layout cpu_layout() noexcept;
[[nodiscard]] CpuState& cpu_state(RegionHalf& half) noexcept;

}  // namespace margay::vmm
