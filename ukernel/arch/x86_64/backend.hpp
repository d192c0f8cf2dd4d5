// What the machine-independent kernel needs from a virtualization extension, and all that it sees of one.
// SVM implements it in svm/; another is to provide the same types and functions.
#pragma once
#include "proto/status.hpp"
#include "support/address.hpp"
#include "ukernel/arch/x86_64/selected_backend.hpp"

namespace margay {

struct Core;
struct Vcpu;

// Types of the back end, opaque but for these members (selected_backend.hpp):
//   GuestContext   a vCPU's state as the processor keeps it, in `storage_bytes` of the vCPU's storage
//     rip() rax() rflags() set_rax(value)
//     exit_flags()        `shadow`, `irq_pending` and `delivering` of exit_flag, after an exit
//     advance(next_rip)   skips the instruction that exited
//   BackendCore    per core: address space identifiers, the host's state; `pages` of memory
//   PermissionMap  per Space: the ports and MSRs that its guests may use; `bytes` of its storage
//     init(storage)  allow_ports(first, count)  intercept_ports(first, count)  intercepts_port(port)
namespace backend {

// Per core, at start, with BackendCore::pages of memory. False if the machine or its firmware does not
// offer it.
bool enable(Core& core, HostPhys memory);

// State for a new vCPU: everything that the kernel itself needs is intercepted.
void init(Vcpu& vcpu, HostPhys storage);

// Copies state groups from the hardware to the state page and back. Loading refuses values that would
// harm the host or that hardware would reject; it then changes nothing.
void store_state(Vcpu& vcpu, std::uint64_t groups);
Status load_state(Vcpu& vcpu, std::uint64_t groups);

// An interrupt for the guest: given to hardware, taken when the guest can. no_vector takes it back.
void set_interrupt(Vcpu& vcpu, std::uint64_t vector);

// Translations of the guest's that the processor holds are not used any more from its next entry on.
void flush(Vcpu& vcpu);

// Enters the guest; comes back in exit_to_handler, or in the scheduler after a physical interrupt.
[[noreturn]] void enter(Core& core, Vcpu& vcpu);

// What this core's registers still hold of the vCPU is given up.
void forget(Vcpu& vcpu);

void print_state(const Vcpu& vcpu);

}  // namespace backend

}  // namespace margay
