// Into the guest, and what its exits become (trap stub: enter.S).
#include <cstddef>

#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/machine_check.hpp"
#include "ukernel/arch/x86_64/svm/exit_classifier.hpp"
#include "ukernel/arch/x86_64/svm/offsets.hpp"
#include "ukernel/arch/x86_64/svm/svm.hpp"
#include "ukernel/core/feature.hpp"
#include "ukernel/core/measure.hpp"
#include "ukernel/exit/exit_switch.hpp"
#include "ukernel/object/space.hpp"
#include "ukernel/sched/scheduler.hpp"

extern "C" [[noreturn]] void svm_enter(margay::Vcpu* vcpu);

namespace margay {

static_assert(offsetof(GuestContext, vmcb_phys) == 0 && offsetof(BackendCore, host_state) == 0);

void backend::enter(Core& core, Vcpu& v) {
    Vmcb& c = *v.guest.vmcb;
    if (v.space->generation() != v.guest.tables_generation ||
        v.guest.asid_generation != core.backend.asid.generation) [[unlikely]] {
        const AsidGrant grant = grant_asid(core.backend.asid, c.asid, v.guest.asid_generation,
                                           v.space->generation() != v.guest.tables_generation);
        c.asid = grant.asid;
        if (grant.flush_all) {
            c.tlb_control = vmcb::flush_all;
            v.guest.irregular |= irregular::flush;
        }
        v.guest.asid_generation = core.backend.asid.generation;
        v.guest.tables_generation = v.space->generation();
    }
    if (core.lazy_owner != &v) [[unlikely]]
        lazy_registers::load(core, v);
    if ((c.virtual_interrupt & vmcb::v_irq) != 0) [[unlikely]]
        svm::offer_interrupt(v);
    measure::left(core.id);
    svm_enter(&v);
}

namespace {

constexpr unsigned vector_nmi = 2;

// After an entry or an exit that was out of the ordinary. False: the guest was only stepped.
bool settle(Vcpu& v) {
    Vmcb& c = *v.guest.vmcb;
    const bool stepped = (v.guest.irregular & irregular::step) != 0;
    c.event_injection = 0;
    c.tlb_control = 0;
    const bool in_shadow = (v.guest.irregular & irregular::shadow) != 0;
    v.guest.irregular &= ~(irregular::event | irregular::flush | irregular::shadow);
    if (stepped && !svm::end_step(v)) return false;
    if (in_shadow && !stepped && c.rip == v.guest.shadow_rip) c.interrupt_shadow |= 1;
    if ((v.guest.irregular & irregular::in_nmi) != 0 && c.exit_code == vmcb::exit_iret) {
        svm::at_iret(v);
        return false;
    }
    const bool offered = (c.virtual_interrupt & vmcb::v_irq) != 0;
    if ((c.exit_int_info & vmcb::event_valid) != 0 && !offered) {
        // An event was being delivered: deliver it again on resume. An external interrupt that is
        // still in V_IRQ is delivered from there, whatever type is reported.
        if ((c.exit_int_info & vmcb::event_type) == vmcb::event_type_intr) {
            backend::set_interrupt(v, c.exit_int_info & 0xff);
            return true;
        }
        c.event_injection = c.exit_int_info;
        v.guest.irregular |= irregular::event;
    }
    if (!offered && !stepped) {
        v.guest.irq_vector = no_vector;
        v.guest.irregular &= ~irregular::offered;
    }
    if ((v.guest.irregular & (irregular::nmi | irregular::event)) == irregular::nmi) {
        v.guest.irregular ^= irregular::nmi | irregular::event;
        c.event_injection = event_injection::valid | event_injection::type_nmi | vector_nmi;
    }
    return true;
}

// True if that was not the handler's business.
bool exited_by_exception(Vcpu& v) {
    if (v.guest.vmcb->exit_code != vmcb::exception_mc) return svm::give_back(v);
    // The machine's trouble, not the guest's.
    machine_check::serve();
    return true;
}

// What else there is to do on this core is done.
[[noreturn]] void let_interrupts_in(Vcpu& v) {
    v.guest.keep_shadow();
    measure::left(v.core->id);
    cpu::take_interrupts();
    measure::entered(v.core->id);
    scheduler::leave();
}

}  // namespace

}  // namespace margay

// From the trap stub (enter.S): the guest's registers are saved, the host's are back.
extern "C" [[noreturn]] void guest_exited(margay::Vcpu* vcpu) {
    using namespace margay;
    Vcpu& v = *vcpu;
    measure::entered(v.core->id);
    Vmcb& c = *v.guest.vmcb;
    if (((c.exit_int_info & vmcb::event_valid) | v.guest.irregular) != 0 && !settle(v))
        [[unlikely]] {
        v.count(KernelExit::step);
        scheduler::leave();
    }
    // Exceptions and physical interrupts.
    if (c.exit_code <= vmcb::exit_init && c.exit_code >= vmcb::exception_0) [[unlikely]] {
        if (c.exit_code >= vmcb::exit_intr) {
            v.count(KernelExit::interrupt);
            let_interrupts_in(v);
        }
        if (exited_by_exception(v)) {
            v.count(KernelExit::exception);
            let_interrupts_in(v);
        }
    }
    // The guest has just run: the processor's XCR0 is still its own.
    const Classified e = classify_exit(c, v.gpr, features().next_rip, [] {
        return features().xsave.supported != 0 ? cpu::read_xcr0() : 0;
    });
    exit_to_handler(v, e.exit_class, e.detail0, e.detail1, e.next_rip, e.flags);
}
