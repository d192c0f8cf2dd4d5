// Interrupts for the guest (AMD APM vol. 2 §15.21).
#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/arch/x86_64/svm/svm.hpp"

namespace margay {

namespace {
constexpr std::uint64_t rflags_tf = 1 << 8;
}

void backend::set_interrupt(Vcpu& v, std::uint64_t vector) {
    v.guest.irq_vector = vector;
    v.guest.irregular = vector == no_vector ? v.guest.irregular & ~irregular::offered
                                            : v.guest.irregular | irregular::offered;
    std::uint64_t& vi = v.guest.vmcb->virtual_interrupt;
    if (vector == no_vector) {
        vi = vmcb::v_masking | (vi & vmcb::v_tpr);
        return;
    }
    // The handler has weighed the task priority already.
    vi = vmcb::v_masking | (vi & vmcb::v_tpr) | vmcb::v_irq | vmcb::v_ignore_tpr |
         (vector >> 4) << vmcb::v_priority_shift | vector << vmcb::v_vector_shift;
}

// The emulator (and the manual does not promise otherwise for V_IRQ on every stepping) takes a
// pending virtual interrupt although VMRUN enters an interrupt shadow. STI;HLT would then sleep
// through it. So the interrupt is held back, and one single step leaves the shadow first.
void svm::begin_step(Vcpu& v) {
    v.guest.irregular |= irregular::step;
    v.guest.vmcb->virtual_interrupt &= ~vmcb::v_irq;
    v.guest.vmcb->rflags |= rflags_tf;
    apply_intercepts(v);
}
void svm::end_step(Vcpu& v) {
    v.guest.irregular &= ~irregular::step;
    v.guest.vmcb->rflags &= ~rflags_tf;
    apply_intercepts(v);
    if (v.guest.irq_vector != no_vector) backend::set_interrupt(v, v.guest.irq_vector);
}

}  // namespace margay
