// The guest's side of the simulated machine: what a test lets a guest do, whatever the back end.
#pragma once
#include "ukernel/object/vcpu.hpp"

namespace margay::machine {

// The back end's part of a fresh core.
void reset_backend(Core& core);
void set_rip(Vcpu& vcpu, std::uint64_t rip);
// The guest, which runs on this core, exits: cpuid, halt, mmio or port, with their details.
[[noreturn]] void exit(Vcpu& vcpu, ExitClass exit_class, std::uint64_t detail0,
                       std::uint64_t detail1);

}  // namespace margay::machine
