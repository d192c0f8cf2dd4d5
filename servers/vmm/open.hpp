// From the start-up block to a machine that is ready for exits.
#pragma once
#include <cstddef>
#include <new>

#include "proto/vmm.hpp"

#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

// The machine is at an address that the linker knows, so that the loop spends no register on it.
alignas(Machine) inline constinit std::byte machine_memory[sizeof(Machine)] = {};
// vCPU 0's.
inline Machine& the_machine() { return *std::launder(reinterpret_cast<Machine*>(machine_memory)); }

// Those of the others lie in memory that the supervisor gives for that: a VMM whose VM has one vCPU does not load
// slower for it.
inline Machine& further_machine(std::uint64_t cpu) {
    return *std::launder(
        reinterpret_cast<Machine*>(vmm_machines_address + cpu * vmm_machine_bytes));
}
static_assert(sizeof(Machine) <= vmm_machine_bytes);

// Makes a new VM if the device-state region is blank, or if its guest was never entered; takes over the VM
// that is in it otherwise; the machines of all vCPUs are then ready. Tells the supervisor how it went. Does not return
// if it failed.
void open_machine();

}  // namespace margay::vmm
