// Interrupts for the guest (AMD APM vol. 2 §15.21).
#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/arch/x86_64/svm/svm.hpp"

namespace margay {

namespace {

constexpr std::uint64_t rflags_tf = 1 << 8;
constexpr std::uint64_t dr6_fixed = 0xffff0ff0;
constexpr std::uint64_t dr6_breakpoints = 0xf;
constexpr std::uint64_t dr6_bd = 1 << 13;
constexpr std::uint64_t dr6_bs = 1 << 14;
constexpr unsigned vector_db = 1, vector_ac = 17;

}  // namespace

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
    Vmcb& c = *v.guest.vmcb;
    v.guest.irregular |= irregular::step;
    v.guest.step_flag = c.rflags & rflags_tf;
    v.guest.step_dr6 = c.dr6;
    c.dr6 = dr6_fixed;
    c.virtual_interrupt &= ~vmcb::v_irq;
    c.rflags |= rflags_tf;
}

bool svm::end_step(Vcpu& v) {
    Vmcb& c = *v.guest.vmcb;
    v.guest.irregular &= ~irregular::step;
    c.rflags = (c.rflags & ~rflags_tf) | v.guest.step_flag;
    const std::uint64_t own =
        c.dr6 & (dr6_breakpoints | dr6_bd | (v.guest.step_flag != 0 ? dr6_bs : 0));
    // Debug exceptions replace the breakpoint bits and leave the others set (AMD APM vol. 2 §13.1.1).
    if (own != 0)
        c.dr6 = (v.guest.step_dr6 & ~dr6_breakpoints) | own;
    else
        c.dr6 = v.guest.step_dr6;
    if (v.guest.irq_vector != no_vector) backend::set_interrupt(v, v.guest.irq_vector);
    return own != 0;
}

bool svm::give_back(Vcpu& v) {
    Vmcb& c = *v.guest.vmcb;
    const std::uint64_t vector = c.exit_code - vmcb::exception_0;
    if ((vector != vector_db && vector != vector_ac) ||
        (v.guest.wanted.exceptions >> vector & 1) != 0)
        return false;
    // If it came while another event was delivered: an interrupt waits in V_IRQ and an exception
    // comes again with its instruction, but an NMI would be lost.
    constexpr std::uint64_t nmi = event_injection::valid | event_injection::type_nmi;
    if ((c.event_injection & (vmcb::event_valid | vmcb::event_type)) == nmi)
        v.guest.irregular |= irregular::nmi;
    c.event_injection = event_injection::valid | event_injection::type_exception | vector;
    // The processor has updated DR6 and DR7 for #DB (AMD APM vol. 2 §15.12.2).
    if (vector == vector_ac)
        c.event_injection |= event_injection::has_error | c.exit_info1
                                                              << event_injection::error_shift;
    v.guest.irregular |= irregular::event;
    return true;
}

}  // namespace margay
