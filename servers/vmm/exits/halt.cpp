// Class halt: the vCPU sleeps until there is an interrupt that it can take (Machine::finish).
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

// With interrupts off only an NMI would wake it, and this VM has no other processor to send one: Linux halts so
// when it is told to (`halt -f`), and after some failures. Nobody would learn of it.
void Machine::on_halt(const Exit& e, Reply& r) {
    constexpr std::uint64_t rflags_if = 1 << 9;
    if ((e.rflags & rflags::tf) != 0) return;  // the trap behind it wakes it at once
    if ((e.rflags & rflags_if) == 0 && !board_.has_nmi())
        return fail(r, "halted with interrupts off: nothing can wake it", VmOutcome::halted);
    glue_.edit().halted = 1;
}

}  // namespace margay::vmm
