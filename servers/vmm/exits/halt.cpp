// Class halt: the vCPU sleeps until there is an interrupt that it can take, or a kick (Machine::finish).
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

void Machine::on_halt(const Exit& e, Reply&) {
    if ((e.rflags & rflags::tf) != 0) return;  // the trap behind it wakes it at once
    glue_.edit().halted = 1;
}

// With interrupts off only a kick, an NMI or INIT wakes it: Linux halts so when it waits for a spinlock, when a
// processor is taken off, when it is told to halt (`halt -f`), and after some failures. When all are, nobody is left to
// send one, and nobody would learn of it.
void Machine::sleep(bool takes_interrupts, Reply& r) {
    r.action = r.action == Action::advance ? Action::park_advance : Action::park;
    const std::uint8_t is_off = !takes_interrupts && !board_.has_nmi() ? 1 : 0;
    if (is_off == glue_->is_off) return;
    glue_.edit().is_off = is_off;
    if (is_off != 0) fail_if_all_are_off(r);
}

void Machine::fail_if_all_are_off(Reply& r) {
    if (all_are_off(cpus_))
        fail(r, "halted with interrupts off: nothing can wake it", VmOutcome::halted);
}

}  // namespace margay::vmm
