// Interrupts for the guest (AMD APM vol. 2 §15.21).
#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/svm/svm.hpp"
#include "ukernel/core/feature.hpp"

namespace margay {

namespace {

constexpr std::uint64_t rflags_tf = 1 << 8, rflags_if = 1 << 9;
constexpr std::uint64_t dr6_fixed = 0xffff0ff0;
constexpr std::uint64_t dr6_breakpoints = 0xf;
constexpr std::uint64_t dr6_bd = 1 << 13;
constexpr std::uint64_t dr6_bs = 1 << 14;
constexpr unsigned vector_db = 1, vector_ac = 17, vector_mc = 18;
constexpr std::uint64_t nmi_event = event_injection::valid | event_injection::type_nmi | 2;
// What would push the step's trap flag, load another one or look at DR6.
constexpr std::uint32_t step_intercept1 =
    vmcb::pushf | vmcb::popf | vmcb::iret | vmcb::software_interrupt;
constexpr std::uint32_t step_intercept2 = vmcb::icebp;
constexpr std::uint16_t step_debug_registers = 1 << 4 | 1 << 6;

// An exit that only the step's intercepts can have made.
bool is_of_step(const Vcpu& v) {
    const std::uint64_t code = v.guest.vmcb->exit_code;
    switch (code) {
    case vmcb::exit_pushf:
    case vmcb::exit_popf:
    case vmcb::exit_iret:
    case vmcb::exit_software_interrupt:
    case vmcb::exit_icebp: return true;
    default: break;
    }
    if (code >= vmcb::dr_read_0 && code < vmcb::exception_0) return true;
    if (code < vmcb::exception_0 || code > vmcb::exception_31) return false;
    const std::uint64_t vector = code - vmcb::exception_0;
    return vector != vector_db && vector != vector_ac && vector != vector_mc &&
           (v.guest.wanted.exceptions >> vector & 1) == 0;
}

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

// Not every emulator takes what is in V_IRQ of a guest that it enters with IF set (docs/manual/testing.md), nor does each
// deliver an injected interrupt once. If its delivery is interrupted, settle() offers it again.
void svm::offer_interrupt(Vcpu& v) {
    Vmcb& c = *v.guest.vmcb;
    if ((c.interrupt_shadow & 1) != 0) return begin_step(v);
    if (features().injects_twice || (c.rflags & rflags_if) == 0 ||
        (c.event_injection & vmcb::event_valid) != 0)
        return;
    c.virtual_interrupt &= ~vmcb::v_irq;
    c.event_injection = event_injection::valid | vmcb::event_type_intr | v.guest.irq_vector;
    v.guest.irregular |= irregular::event;
}

// The emulator (and the manual does not promise otherwise for V_IRQ on every stepping) takes a
// pending virtual interrupt although VMRUN enters an interrupt shadow. STI;HLT would then sleep
// through it. So the interrupt is held back, and one single step leaves the shadow first.
// What the instruction does with the trap flag beyond being trapped (PUSHF, INT, SYSCALL, a fault that is delivered with
// it) must not happen: all of that exits, and then the instruction has no shadow. That is no harm: it is neither the HLT
// that must not be slept through nor the load of a stack pointer.
void svm::begin_step(Vcpu& v) {
    Vmcb& c = *v.guest.vmcb;
    // Its delivery ends the shadow, and would push the flag.
    if ((c.event_injection & vmcb::event_valid) != 0) {
        c.interrupt_shadow = 0;
        return;
    }
    v.guest.irregular |= irregular::step;
    v.guest.step_flag = c.rflags & rflags_tf;
    v.guest.step_dr6 = c.dr6;
    v.guest.step_efer = c.efer;
    v.guest.shadow_rip = c.rip;
    c.exceptions = ~0u;
    c.intercept1 |= step_intercept1;
    c.intercept2 |= step_intercept2;
    c.dr_read = c.dr_write = step_debug_registers;
    c.efer &= ~cpu::efer::sce;  // SYSCALL is #UD
    c.dr6 = dr6_fixed;
    c.virtual_interrupt &= ~vmcb::v_irq;
    c.rflags |= rflags_tf;
}

bool svm::end_step(Vcpu& v) {
    Vmcb& c = *v.guest.vmcb;
    v.guest.irregular &= ~irregular::step;
    apply_intercepts(v);
    c.efer |= v.guest.step_efer & cpu::efer::sce;
    c.rflags = (c.rflags & ~rflags_tf) | v.guest.step_flag;
    const std::uint64_t own =
        c.dr6 & (dr6_breakpoints | dr6_bd | (v.guest.step_flag != 0 ? dr6_bs : 0));
    // Debug exceptions replace the breakpoint bits and leave the others set (AMD APM vol. 2 §13.1.1).
    if (own != 0)
        c.dr6 = (v.guest.step_dr6 & ~dr6_breakpoints) | own;
    else
        c.dr6 = v.guest.step_dr6;
    if (v.guest.irq_vector != no_vector) backend::set_interrupt(v, v.guest.irq_vector);
    if (is_of_step(v)) {
        c.interrupt_shadow = 0;
        return false;
    }
    if (c.exit_code == vmcb::exception_db) return own != 0;
    // It has not been executed yet.
    if (c.rip == v.guest.shadow_rip) c.interrupt_shadow |= 1;
    return true;
}

void svm::inject_nmi(Vcpu& v) {
    if ((v.guest.irregular & irregular::in_nmi) != 0) {
        v.guest.irregular |= irregular::next_nmi;
        return;
    }
    v.guest.irregular |= irregular::in_nmi | irregular::event;
    v.guest.vmcb->event_injection = nmi_event;
    apply_intercepts(v);
}

// The IRET is still to be executed: the next NMI comes before it.
void svm::at_iret(Vcpu& v) {
    const bool next = (v.guest.irregular & irregular::next_nmi) != 0;
    v.guest.irregular &= ~(irregular::in_nmi | irregular::next_nmi);
    apply_intercepts(v);
    if (next) inject_nmi(v);
}

bool svm::give_back(Vcpu& v) {
    Vmcb& c = *v.guest.vmcb;
    const std::uint64_t vector = c.exit_code - vmcb::exception_0;
    if ((vector != vector_db && vector != vector_ac) ||
        (v.guest.wanted.exceptions >> vector & 1) != 0)
        return false;
    // If it came while another event was delivered: an interrupt waits in V_IRQ and an exception
    // comes again with its instruction, but an NMI would be lost.
    constexpr std::uint64_t kind = vmcb::event_valid | vmcb::event_type;
    if ((c.event_injection & kind) == (nmi_event & kind)) v.guest.irregular |= irregular::nmi;
    c.event_injection = event_injection::valid | event_injection::type_exception | vector;
    // The processor has updated DR6 and DR7 for #DB (AMD APM vol. 2 §15.12.2).
    if (vector == vector_ac)
        c.event_injection |= event_injection::has_error | c.exit_info1
                                                              << event_injection::error_shift;
    v.guest.irregular |= irregular::event;
    return true;
}

}  // namespace margay
