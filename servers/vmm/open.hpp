// From the start-up block to a machine that is ready for exits.
#pragma once
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

// Makes a new VM if the device-state region is blank, or if its guest was never entered; takes over the VM
// that is in it otherwise. Tells the supervisor how it went. Does not return if it failed.
Machine& open_machine();

}  // namespace margay::vmm
