// AMD SVM behind the virtualization interface (AMD APM vol. 2 chapter 15).
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/svm/exit_classifier.hpp"
#include "ukernel/arch/x86_64/virtualization.hpp"
#include "ukernel/core/feature.hpp"
#include "ukernel/debug/console.hpp"
#include "ukernel/ipc/exit_switch.hpp"
#include "ukernel/object/space.hpp"
#include "ukernel/sched/scheduler.hpp"

extern "C" [[noreturn]] void svm_enter(margay::Vcpu* vcpu);

namespace margay::virtualization {

namespace {

// What the kernel intercepts whatever a handler asks for. XSETBV is of no use without XSAVE, which
// guests are not offered; it is asked for all the same, for processors that honour it.
constexpr std::uint32_t base_intercept1 = vmcb::intr | vmcb::nmi | vmcb::smi | vmcb::init |
                                          vmcb::rdpmc | vmcb::cpuid | vmcb::invd | vmcb::hlt |
                                          vmcb::invlpga | vmcb::io | vmcb::msr | vmcb::task_switch |
                                          vmcb::ferr_freeze | vmcb::shutdown;
constexpr std::uint32_t base_intercept2 =
    vmcb::vmrun | vmcb::vmmcall | vmcb::vmload | vmcb::vmsave | vmcb::stgi | vmcb::clgi |
    vmcb::skinit | vmcb::wbinvd | vmcb::monitor | vmcb::mwait | vmcb::mwait_armed | vmcb::xsetbv;
constexpr std::uint64_t rflags_tf = 1 << 8;
constexpr std::uint64_t rflags_valid = 0x3f7fd5;

void apply_intercepts(Vcpu& v) {
    Vmcb& c = *v.vmcb;
    const InterceptState& i = v.wanted_intercepts;
    c.cr_read = i.cr_read;
    // CR8 writes are never passed: V_TPR would then decide what the handler already decided.
    c.cr_write = i.cr_write;
    c.exceptions = i.exceptions | 1u << 18 /* machine check */ |
                   ((v.irregular & irregular::step) != 0 ? 1u << 1 : 0);
    c.intercept1 = base_intercept1 | ((i.flags & intercept_flag::rdtsc) ? vmcb::rdtsc : 0) |
                   ((i.flags & intercept_flag::pause) ? vmcb::pause : 0) |
                   ((i.flags & intercept_flag::invlpg) ? vmcb::invlpg : 0) |
                   ((i.flags & intercept_flag::interrupt_window) ? vmcb::vintr : 0);
}

// The emulator (and the manual does not promise otherwise for V_IRQ on every stepping) takes a
// pending virtual interrupt although VMRUN enters an interrupt shadow. STI;HLT would then sleep
// through it. So the interrupt is held back, and one single step leaves the shadow first.
void begin_step(Vcpu& v) {
    v.irregular |= irregular::step;
    v.vmcb->virtual_interrupt &= ~vmcb::v_irq;
    v.vmcb->rflags |= rflags_tf;
    apply_intercepts(v);
}
void end_step(Vcpu& v) {
    v.irregular &= ~irregular::step;
    v.vmcb->rflags &= ~rflags_tf;
    apply_intercepts(v);
    if (v.irq_vector != no_vector) set_interrupt(v, v.irq_vector);
}

void swap_fpu(Core& core, Vcpu& v) {
    const std::uint64_t cr0 = cpu::read_cr0();
    cpu::write_cr0(cr0 & ~0xcull);  // EM, TS
    if (core.fpu_owner != nullptr)
        asm volatile("fxsave64 (%0)" : : "r"(core.fpu_owner->fpu) : "memory");
    asm volatile("fxrstor64 (%0)" : : "r"(v.fpu) : "memory");
    cpu::write_cr0(cr0);
    core.fpu_owner = &v;
}

bool valid_segment(const SegmentState& s) { return (s.attributes & ~0xfffu) == 0; }

}  // namespace

bool enable(Core& core, HostPhys host_save_area, HostPhys host_state) {
    if (!features().svm) return false;
    if (cpu::read_msr(cpu::msr::vm_cr) & (1 << 4)) return false;  // SVMDIS, locked by firmware
    cpu::write_msr(cpu::msr::efer, cpu::read_msr(cpu::msr::efer) | cpu::efer::svme);
    cpu::write_msr(cpu::msr::vm_hsave_pa, host_save_area.value());
    asm volatile("vmsave %0" : : "a"(host_state.value()) : "memory");
    core.host_vmcb = host_state.value();
    core.asid = {1, features().asids, 1};
    return true;
}

void init(Vcpu& v) {
    Vmcb& c = *v.vmcb;
    c = Vmcb{};
    c.intercept2 = base_intercept2;
    c.dr_read = 0;
    c.dr_write = 0;
    c.io_bitmap = v.space->io_phys.value();
    c.msr_bitmap = v.space->msr_phys.value();
    c.asid = 1;
    c.virtual_interrupt = vmcb::v_masking;
    c.nested_control = 1;
    c.nested_cr3 = v.space->root().value();
    c.efer = cpu::efer::svme;
    c.g_pat = 0x0007040600070406;
    c.rflags = 2;
    c.dr6 = 0xffff0ff0;
    c.dr7 = 0x400;
    v.fpu[0] = 0x7f, v.fpu[1] = 0x03;    // FCW after FNINIT
    v.fpu[24] = 0x80, v.fpu[25] = 0x1f;  // MXCSR
    apply_intercepts(v);
}

namespace {

// The groups of gpr_low to control, one by one; `wants` decides at compile time or at run time.
template <typename Wants>
[[gnu::always_inline]] inline void store_common(const Vcpu& v, VcpuState& p, Wants wants) {
    const Vmcb& c = *v.vmcb;
    if (wants(state::gpr_low)) {
        p.gpr[gpr_rax] = c.rax;
        p.gpr[gpr_rcx] = v.gpr[gpr_rcx];
        p.gpr[gpr_rdx] = v.gpr[gpr_rdx];
        p.gpr[gpr_rbx] = v.gpr[gpr_rbx];
    }
    if (wants(state::gpr_mid)) {
        p.gpr[gpr_rsp] = c.rsp;
        p.gpr[gpr_rbp] = v.gpr[gpr_rbp];
        p.gpr[gpr_rsi] = v.gpr[gpr_rsi];
        p.gpr[gpr_rdi] = v.gpr[gpr_rdi];
    }
    if (wants(state::gpr_high)) {
        p.gpr[gpr_r8] = v.gpr[gpr_r8], p.gpr[gpr_r9] = v.gpr[gpr_r9];
        p.gpr[gpr_r10] = v.gpr[gpr_r10], p.gpr[gpr_r11] = v.gpr[gpr_r11];
        p.gpr[gpr_r12] = v.gpr[gpr_r12], p.gpr[gpr_r13] = v.gpr[gpr_r13];
        p.gpr[gpr_r14] = v.gpr[gpr_r14], p.gpr[gpr_r15] = v.gpr[gpr_r15];
    }
    if (wants(state::rip)) p.rip = c.rip;
    if (wants(state::rflags)) p.rflags = c.rflags;
    if (wants(state::segments)) {
        p.es = c.es, p.cs = c.cs, p.ss = c.ss, p.ds = c.ds, p.fs = c.fs, p.gs = c.gs;
        // The processor keeps the privilege level apart from SS (§15.5.1).
        p.ss.attributes = static_cast<std::uint16_t>((p.ss.attributes & ~0x60u) | c.cpl << 5);
    }
    if (wants(state::control)) {
        p.cr0 = c.cr0, p.cr2 = c.cr2, p.cr3 = c.cr3, p.cr4 = c.cr4;
        p.efer = c.efer & ~cpu::efer::svme;
    }
}

[[gnu::noinline]] void store_rare(const Vcpu& v, VcpuState& p, std::uint64_t groups) {
    const Vmcb& c = *v.vmcb;
    if (groups & state::tables) p.tr = c.tr, p.ldtr = c.ldtr, p.gdtr = c.gdtr, p.idtr = c.idtr;
    if (groups & state::debug) p.dr6 = c.dr6, p.dr7 = c.dr7;
    if (groups & state::system_msrs) {
        p.star = c.star, p.lstar = c.lstar, p.cstar = c.cstar, p.sfmask = c.sfmask;
        p.kernel_gs_base = c.kernel_gs_base;
        p.sysenter_cs = c.sysenter_cs, p.sysenter_esp = c.sysenter_esp;
        p.sysenter_eip = c.sysenter_eip;
    }
    if (groups & state::pat) p.pat = c.g_pat;
    if (groups & state::event) p.event = c.event_injection;
    if (groups & state::intercepts) p.intercepts = v.wanted_intercepts;
    if (groups & state::tsc_offset) p.tsc_offset = c.tsc_offset;
    if (groups & state::shadow) p.shadow = c.interrupt_shadow & 1;
    if (groups & state::instruction) {
        p.instruction_length = c.fetched_length & 15;
        for (unsigned i = 0; i < 15; ++i) p.instruction[i] = c.fetched[i];
    }
}

void store_fpu(Vcpu& v) {
    if (v.core->fpu_owner == &v) {
        const std::uint64_t cr0 = cpu::read_cr0();
        cpu::write_cr0(cr0 & ~0xcull);  // EM, TS
        asm volatile("fxsave64 (%0)" : : "r"(v.fpu) : "memory");
        cpu::write_cr0(cr0);
    }
    for (unsigned i = 0; i < sizeof(v.fpu); ++i) v.page->fpu[i] = v.fpu[i];
}

// Every processor with SVM has the lower 16 bits of MXCSR; others make FXRSTOR fault (AMD APM vol. 2
// §11.4.4).
void load_fpu(Vcpu& v) {
    constexpr unsigned mxcsr_reserved = 26;
    forget(v);
    for (unsigned i = 0; i < sizeof(v.fpu); ++i) v.fpu[i] = v.page->fpu[i];
    v.fpu[mxcsr_reserved] = v.fpu[mxcsr_reserved + 1] = 0;
}

}  // namespace

void store_state(Vcpu& v, std::uint64_t groups) {
    using namespace state;
    // What instruction emulation wants, without a test per group.
    constexpr std::uint64_t emulation =
        gpr_low | gpr_mid | gpr_high | rip | rflags | segments | control;
    VcpuState& p = *v.page;
    if ((groups & emulation) == emulation)
        store_common(v, p, [](std::uint64_t) { return true; });
    else if (groups == gpr_low)
        store_common(v, p, [](std::uint64_t g) { return g == gpr_low; });
    else
        store_common(v, p, [groups](std::uint64_t g) { return (groups & g) != 0; });
    if ((groups & ~emulation) != 0) store_rare(v, p, groups);
    if ((groups & fpu) != 0) [[unlikely]]
        store_fpu(v);
}

Status load_state(Vcpu& v, std::uint64_t groups) {
    Vmcb& c = *v.vmcb;
    const VcpuState& p = *v.page;
    // Checks come first: a refused reply changes nothing.
    SegmentState segments[8];
    std::uint64_t event = 0;
    if (groups & state::segments) {
        segments[0] = p.es, segments[1] = p.cs, segments[2] = p.ss;
        segments[3] = p.ds, segments[4] = p.fs, segments[5] = p.gs;
        for (unsigned i = 0; i < 6; ++i)
            if (!valid_segment(segments[i])) return Status::bad_argument;
    }
    if (groups & state::event) {
        event = p.event;
        const std::uint64_t type = event & vmcb::event_type;
        // External interrupts go through the virtual interrupt only: EVENTINJ of one can be
        // delivered twice on some implementations.
        if ((event & vmcb::event_valid) && type != event_injection::type_exception &&
            type != event_injection::type_nmi && type != event_injection::type_software)
            return Status::bad_argument;
    }
    if (groups & state::gpr_low) {
        c.rax = p.gpr[gpr_rax];
        v.gpr[gpr_rcx] = p.gpr[gpr_rcx];
        v.gpr[gpr_rdx] = p.gpr[gpr_rdx];
        v.gpr[gpr_rbx] = p.gpr[gpr_rbx];
    }
    if (groups & state::gpr_mid) {
        c.rsp = p.gpr[gpr_rsp];
        v.gpr[gpr_rbp] = p.gpr[gpr_rbp];
        v.gpr[gpr_rsi] = p.gpr[gpr_rsi];
        v.gpr[gpr_rdi] = p.gpr[gpr_rdi];
    }
    if (groups & state::gpr_high)
        for (unsigned i = gpr_r8; i <= gpr_r15; ++i) v.gpr[i] = p.gpr[i];
    if (groups & state::rip) {
        c.rip = p.rip;
        c.interrupt_shadow = 0;  // it belonged to the instruction before
    }
    if (groups & state::rflags) c.rflags = (p.rflags & rflags_valid) | 2;
    if (groups & state::segments) {
        c.es = segments[0], c.cs = segments[1], c.ss = segments[2];
        c.ds = segments[3], c.fs = segments[4], c.gs = segments[5];
        c.cpl = segments[2].attributes >> 5 & 3;
    }
    if (groups & state::tables) c.tr = p.tr, c.ldtr = p.ldtr, c.gdtr = p.gdtr, c.idtr = p.idtr;
    if (groups & state::control) {
        c.cr0 = p.cr0, c.cr2 = p.cr2, c.cr3 = p.cr3, c.cr4 = p.cr4;
        c.efer = (p.efer & 0xd01) | cpu::efer::svme;
    }
    if (groups & state::debug) c.dr6 = p.dr6, c.dr7 = p.dr7;
    if (groups & state::system_msrs) {
        c.star = p.star, c.lstar = p.lstar, c.cstar = p.cstar, c.sfmask = p.sfmask;
        c.kernel_gs_base = p.kernel_gs_base;
        c.sysenter_cs = p.sysenter_cs, c.sysenter_esp = p.sysenter_esp;
        c.sysenter_eip = p.sysenter_eip;
    }
    if (groups & state::pat) c.g_pat = p.pat;
    if (groups & state::event) {
        c.event_injection = event;
        v.irregular |= irregular::event;
    }
    if (groups & state::intercepts) {
        v.wanted_intercepts = p.intercepts;
        apply_intercepts(v);
    }
    if (groups & state::tsc_offset) c.tsc_offset = p.tsc_offset;
    if (groups & state::shadow) c.interrupt_shadow = p.shadow & 1;
    if (groups & state::fpu) load_fpu(v);
    return Status::ok;
}

void set_interrupt(Vcpu& v, std::uint64_t vector) {
    v.irq_vector = vector;
    v.irregular =
        vector == no_vector ? v.irregular & ~irregular::offered : v.irregular | irregular::offered;
    std::uint64_t& vi = v.vmcb->virtual_interrupt;
    if (vector == no_vector) {
        vi = vmcb::v_masking | (vi & vmcb::v_tpr);
        return;
    }
    // The handler has weighed the task priority already.
    vi = vmcb::v_masking | (vi & vmcb::v_tpr) | vmcb::v_irq | vmcb::v_ignore_tpr |
         (vector >> 4) << vmcb::v_priority_shift | vector << vmcb::v_vector_shift;
}

bool advance(Vcpu& v) {
    if (v.pending.next_rip == 0) return false;
    v.vmcb->rip = v.pending.next_rip;
    v.vmcb->interrupt_shadow = 0;
    return true;
}

void enter(Core& core, Vcpu& v) {
    Vmcb& c = *v.vmcb;
    if (v.space->generation() != v.tables_generation || v.asid_generation != core.asid.generation)
        [[unlikely]] {
        const AsidGrant grant = grant_asid(core.asid, c.asid, v.asid_generation,
                                           v.space->generation() != v.tables_generation);
        c.asid = grant.asid;
        if (grant.flush_all) {
            c.tlb_control = vmcb::flush_all;
            v.irregular |= irregular::flush;
        }
        v.asid_generation = core.asid.generation;
        v.tables_generation = v.space->generation();
    }
    if (core.fpu_owner != &v) [[unlikely]]
        swap_fpu(core, v);
    if ((c.interrupt_shadow & 1) != 0 && (c.virtual_interrupt & vmcb::v_irq) != 0) [[unlikely]]
        begin_step(v);
    svm_enter(&v);
}

void forget(Vcpu& v) {
    if (v.core->fpu_owner == &v) v.core->fpu_owner = nullptr;
}

void print_state(const Vcpu& v) {
    const Vmcb& c = *v.vmcb;
    log("  rip {X} rsp {X} rflags {x} cpl {}\n", c.rip, c.rsp, c.rflags, c.cpl);
    log("  rax {X} rbx {X} rcx {X} rdx {X}\n", c.rax, v.gpr[gpr_rbx], v.gpr[gpr_rcx],
        v.gpr[gpr_rdx]);
    log("  rsi {X} rdi {X} rbp {X} r8  {X}\n", v.gpr[gpr_rsi], v.gpr[gpr_rdi], v.gpr[gpr_rbp],
        v.gpr[gpr_r8]);
    log("  r9  {X} r10 {X} r11 {X} r12 {X}\n", v.gpr[gpr_r9], v.gpr[gpr_r10], v.gpr[gpr_r11],
        v.gpr[gpr_r12]);
    log("  r13 {X} r14 {X} r15 {X}\n", v.gpr[gpr_r13], v.gpr[gpr_r14], v.gpr[gpr_r15]);
    log("  cr0 {x} cr2 {x} cr3 {x} cr4 {x} efer {x}\n", c.cr0, c.cr2, c.cr3, c.cr4, c.efer);
    log("  cs {x}:{x} ss {x}:{x} gdt {x} idt {x} exit {x} {x} {x}\n", c.cs.selector, c.cs.base,
        c.ss.selector, c.ss.base, c.gdtr.base, c.idtr.base, c.exit_code, c.exit_info1,
        c.exit_info2);
}

}  // namespace margay::virtualization

namespace margay {

namespace {

// After an entry or an exit that was out of the ordinary. False: the guest was only stepped.
bool settle(Vcpu& v) {
    Vmcb& c = *v.vmcb;
    const bool stepped = (v.irregular & irregular::step) != 0;
    c.event_injection = 0;
    c.tlb_control = 0;
    v.irregular &= ~(irregular::event | irregular::flush);
    if (stepped) {
        virtualization::end_step(v);
        if (c.exit_code == vmcb::exception_db) return false;
    }
    const bool offered = (c.virtual_interrupt & vmcb::v_irq) != 0;
    if ((c.exit_int_info & vmcb::event_valid) != 0 && !offered) {
        // An event was being delivered: deliver it again on resume. An external interrupt that is
        // still in V_IRQ is delivered from there, whatever type is reported.
        if ((c.exit_int_info & vmcb::event_type) == vmcb::event_type_intr) {
            virtualization::set_interrupt(v, c.exit_int_info & 0xff);
            return true;
        }
        c.event_injection = c.exit_int_info;
        v.irregular |= irregular::event;
    }
    if (!offered && !stepped) {
        v.irq_vector = no_vector;
        v.irregular &= ~irregular::offered;
    }
    return true;
}

}  // namespace

}  // namespace margay

// From the trap stub (enter.S): the guest's registers are saved, the host's are back.
extern "C" [[noreturn]] void guest_exited(margay::Vcpu* vcpu) {
    using namespace margay;
    Vcpu& v = *vcpu;
    Vmcb& c = *v.vmcb;
    if (((c.exit_int_info & vmcb::event_valid) | v.irregular) != 0 && !settle(v)) [[unlikely]]
        scheduler::leave();
    if (c.exit_code == vmcb::exit_intr || c.exit_code == vmcb::exit_nmi) {
        cpu::take_interrupts();
        scheduler::leave();
    }
    const Classified e = classify_exit(c, v.gpr, features().next_rip);
    exit_to_handler(v, e.exit_class, e.detail0, e.detail1, e.next_rip);
}
