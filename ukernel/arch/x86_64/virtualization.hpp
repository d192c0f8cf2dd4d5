// What the machine-independent kernel needs from a virtualization extension. SVM implements it in
// svm/; VMX is to implement the same functions.
#pragma once
#include "ukernel/core/core.hpp"
#include "ukernel/object/vcpu.hpp"

namespace margay::virtualization {

// Per core, at start. False if the machine or its firmware does not offer it.
bool enable(Core& core, HostPhys host_save_area, HostPhys host_state);

// A control block for a new vCPU: everything that the kernel itself needs is intercepted.
void init(Vcpu& vcpu);

// Copies state groups from the hardware to the state page and back. Loading refuses values that would
// harm the host or that hardware would reject.
void store_state(Vcpu& vcpu, std::uint64_t groups);
Status load_state(Vcpu& vcpu, std::uint64_t groups);

// An interrupt for the guest: given to hardware, taken when the guest can. no_vector takes it back.
void set_interrupt(Vcpu& vcpu, std::uint64_t vector);
inline bool interrupt_pending(const Vcpu& vcpu) {
    return (vcpu.vmcb->virtual_interrupt & vmcb::v_irq) != 0;
}

// Skips the instruction that exited. False if its length is unknown.
bool advance(Vcpu& vcpu);

// Enters the guest; returns by way of guest_exited (trap stub in svm/enter.S).
[[noreturn]] void enter(Core& core, Vcpu& vcpu);

// The vCPU's state in this core's registers (FPU) is given up.
void forget(Vcpu& vcpu);

void print_state(const Vcpu& vcpu);

}  // namespace margay::virtualization
