// What the files of this folder need from each other.
#pragma once
#include "ukernel/object/vcpu.hpp"

namespace margay::svm {

// The intercepts that the handler wants and those that the kernel needs.
void apply_intercepts(Vcpu& v);
// One single step out of an interrupt shadow, with the interrupt held back, and its end.
void begin_step(Vcpu& v);
void end_step(Vcpu& v);

}  // namespace margay::svm
