// What the files of this folder need from each other.
#pragma once
#include "ukernel/object/vcpu.hpp"

namespace margay::svm {

// The intercepts that the handler wants and those that the kernel needs.
void apply_intercepts(Vcpu& v);
// One single step out of an interrupt shadow, with the interrupt held back, and its end.
void begin_step(Vcpu& v);
// True if the guest itself has a debug exception from that step.
bool end_step(Vcpu& v);
// The guest has exited for #DB or #AC: they are the guest's own unless the handler wants them, but
// must not be delivered without the kernel. A handler that pushes onto what raises them again would keep
// the processor in their delivery for ever, interrupts and all (CVE-2015-5307, CVE-2015-8104). False: the
// exit is the handler's.
bool give_back(Vcpu& v);

}  // namespace margay::svm
