// Class halt: the vCPU sleeps until there is an interrupt that it can take (Machine::finish).
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

// With interrupts off only an NMI or INIT wakes it: Linux halts so when a processor is taken off, when it is told to
// halt (`halt -f`), and after some failures. When all are, nobody is left to send one, and nobody would learn of it.
void Machine::on_halt(const Exit& e, Reply& r) {
    constexpr std::uint64_t rflags_if = 1 << 9;
    if ((e.rflags & rflags::tf) != 0) return;  // the trap behind it wakes it at once
    VcpuGlueState& glue = glue_.edit();
    glue.halted = 1;
    glue.is_off = (e.rflags & rflags_if) == 0 && !board_.has_nmi() ? 1 : 0;
    if (glue.is_off != 0 && all_are_off())
        return fail(r, "halted with interrupts off: nothing can wake it", VmOutcome::halted);
}

// Two that fall asleep at the same time: one of them sees the other.
bool Machine::all_are_off() const {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    for (unsigned i = 0; i < cpus_.count; ++i) {
        const VcpuGlueState& glue = cpus_.state[i]->vcpu.live;
        if (glue.is_off == 0 && glue.awaits_startup == 0) return false;
    }
    return true;
}

}  // namespace margay::vmm
