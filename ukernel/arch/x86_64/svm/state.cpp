// The guest's state to the state page and back (AMD APM vol. 2 §15.5).
#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/svm/svm.hpp"

namespace margay::backend {

namespace {

constexpr std::uint64_t rflags_valid = 0x3f7fd5;

bool valid_segment(const SegmentState& s) { return (s.attributes & ~0xfffu) == 0; }

// The groups of gpr_low to control, one by one; `wants` decides at compile time or at run time.
template <typename Wants>
[[gnu::always_inline]] inline void store_common(const Vcpu& v, VcpuState& p, Wants wants) {
    const Vmcb& c = *v.guest.vmcb;
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
    const Vmcb& c = *v.guest.vmcb;
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
    if (groups & state::intercepts) p.intercepts = v.guest.wanted;
    if (groups & state::tsc_offset) p.tsc_offset = c.tsc_offset;
    if (groups & state::shadow) p.shadow = c.interrupt_shadow & 1;
    if (groups & state::instruction) {
        p.instruction_length = c.fetched_length & 15;
        for (unsigned i = 0; i < 15; ++i) p.instruction[i] = c.fetched[i];
    }
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
    if ((groups & state::fpu) != 0) [[unlikely]]
        fpu::store_state(v);
}

Status load_state(Vcpu& v, std::uint64_t groups) {
    Vmcb& c = *v.guest.vmcb;
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
        v.guest.irregular |= irregular::event;
    }
    if (groups & state::intercepts) {
        v.guest.wanted = p.intercepts;
        svm::apply_intercepts(v);
    }
    if (groups & state::tsc_offset) c.tsc_offset = p.tsc_offset;
    if (groups & state::shadow) c.interrupt_shadow = p.shadow & 1;
    if (groups & state::fpu) fpu::load_state(v);
    return Status::ok;
}

}  // namespace margay::backend
