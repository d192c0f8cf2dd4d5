// What the files of this folder need from each other.
#pragma once
#include "ukernel/object/vcpu.hpp"

namespace margay::svm {

// The intercepts that the handler wants and those that the kernel needs.
void apply_intercepts(Vcpu& v);
// Before an entry with an interrupt in V_IRQ: a guest that can take it gets it as an event where the processor may be
// trusted with that (decision 5), and one in an interrupt shadow is stepped out of it first.
void offer_interrupt(Vcpu& v);
// One single step out of an interrupt shadow, with the interrupt held back, and its end. Only an instruction that
// can neither see nor leave behind the trap flag is stepped: from the others the shadow is taken.
void begin_step(Vcpu& v);
// False: the exit was for the step's sake, and the guest goes on.
bool end_step(Vcpu& v);
// NMIs do not nest, although no virtual NMI of the processor sees to it: the next one waits for IRET (AMD APM vol. 2
// §8.2.3, §15.21.10). inject_nmi: an NMI that a handler wants; at_iret: at the exit that end_nmi asked for.
void inject_nmi(Vcpu& v);
void at_iret(Vcpu& v);
// The guest has exited for #DB or #AC: they are the guest's own unless the handler wants them, but
// must not be delivered without the kernel. A handler that pushes onto what raises them again would keep
// the processor in their delivery for ever, interrupts and all (CVE-2015-5307, CVE-2015-8104). False: the
// exit is the handler's.
bool give_back(Vcpu& v);

}  // namespace margay::svm
