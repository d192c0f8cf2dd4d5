// Class halt: the vCPU sleeps until there is an interrupt that it can take (Machine::finish).
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

void Machine::on_halt(Reply&) { glue_.edit().halted = 1; }

}  // namespace margay::vmm
