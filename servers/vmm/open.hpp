// From the start-up block to a machine that is ready for exits.
#pragma once
#include <cstddef>
#include <new>

#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

// The machine is at an address that the linker knows, so that the loop spends no register on it.
alignas(Machine) inline constinit std::byte machine_memory[sizeof(Machine)] = {};
inline Machine& the_machine() { return *std::launder(reinterpret_cast<Machine*>(machine_memory)); }

// Makes a new VM if the device-state region is blank, or if its guest was never entered; takes over the VM
// that is in it otherwise; the_machine() is then ready. Tells the supervisor how it went. Does not return
// if it failed.
void open_machine();

}  // namespace margay::vmm
