// Everything of init's that belongs to one VM: it is made when the VM is defined and goes when it is undefined.
#pragma once
#include "servers/init/vm.hpp"

namespace margay::init {

struct VmPlace {
    // Its own copy: the manifest or the request that it came from may be gone.
    VmConfig config;
    Vm vm;
    Channel terminal, log;
    Holdings holdings;  // the Event whose signals reach the vCPU
    Slot requests = no_slot;
    std::uint16_t holder = 0;  // of devices
    bool is_asked = false;     // to power off, as the node does
    // Where this lies.
    Extent memory;
    std::uint64_t at = 0;
};

}  // namespace margay::init
