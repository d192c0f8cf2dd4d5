// The guest's state to the state page and back (AMD APM vol. 2 §15.5).
#include <cstddef>
#include <cstring>

#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/guest_state.hpp"
#include "ukernel/arch/x86_64/svm/svm.hpp"
#include "ukernel/core/feature.hpp"

namespace margay::backend {

namespace {

constexpr std::uint64_t rflags_valid = 0x3f7fd5;

// Groups whose values depend on each other, or that few replies contain.
constexpr std::uint64_t rare_groups = state::segments | state::tables | state::control |
                                      state::debug | state::system_msrs | state::pat | state::event;

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

// The groups of `rare_groups`, with RIP and RFLAGS, which they must fit: checked, then taken. The page may
// change at any moment: everything is read once.
[[gnu::noinline]] bool load_rare(Vcpu& v, std::uint64_t groups, std::uint64_t rip,
                                 std::uint64_t rflags) {
    using namespace guest_state;
    Vmcb& c = *v.guest.vmcb;
    VcpuState p;
    std::memcpy(&p, v.page, offsetof(VcpuState, intercepts));
    asm volatile("" : : "r"(&p) : "memory");  // no second look at the page
    System s{c.cr0, c.cr3, c.cr4, c.efer, c.rip, c.rflags, c.cs.attributes};
    if (groups & state::control) {
        s.cr0 = p.cr0, s.cr3 = p.cr3, s.cr4 = p.cr4;
        s.efer = (p.efer & features().guest_efer) | cpu::efer::svme;
        if (s.long_mode()) s.efer |= cpu::efer::lma;
        // Without paging PAE means nothing, so it may be set there.
        if (features().pae_unchecked && !s.paging() && (s.efer & cpu::efer::lme) != 0)
            s.cr4 |= cpu::cr4::pae;
    }
    if (groups & state::rip) s.rip = rip;
    if (groups & state::rflags) s.rflags = rflags;
    if (groups & state::segments) s.cs = p.cs.attributes;
    const Limits limits{features().guest_cr4, features().physical_bits};
    if ((groups & (state::control | state::segments | state::rip | state::rflags)) != 0 &&
        !is_valid(s, limits))
        return false;
    const SegmentState segments[6] = {p.es, p.cs, p.ss, p.ds, p.fs, p.gs};
    if ((groups & state::segments) != 0 && !are_valid(segments, s)) return false;
    const SegmentState tables[4] = {p.tr, p.ldtr, {0, 0, 0, p.gdtr.base}, {0, 0, 0, p.idtr.base}};
    if ((groups & state::tables) != 0 && !are_valid(tables, s)) return false;
    if ((groups & state::debug) != 0 && (p.dr6 | p.dr7) >> 32 != 0) return false;
    if (groups & state::system_msrs)
        for (const std::uint64_t a :
             {p.lstar, p.cstar, p.kernel_gs_base, p.sysenter_esp, p.sysenter_eip})
            if (!s.is_canonical(a)) return false;
    if ((groups & state::pat) != 0 && !is_valid_pat(p.pat)) return false;
    if ((groups & state::event) != 0 && !is_valid_event(p.event, s)) return false;

    if (groups & state::segments) {
        c.es = p.es, c.cs = p.cs, c.ss = p.ss, c.ds = p.ds, c.fs = p.fs, c.gs = p.gs;
        c.cpl = p.ss.attributes >> 5 & 3;
    }
    if (groups & state::tables) c.tr = p.tr, c.ldtr = p.ldtr, c.gdtr = p.gdtr, c.idtr = p.idtr;
    if (groups & state::control) {
        c.cr0 = s.cr0 | cpu::cr0::et, c.cr2 = p.cr2, c.cr3 = s.cr3, c.cr4 = s.cr4;
        c.efer = s.efer;
    }
    if ((s.cr0 & cpu::cr0::pe) == 0)
        c.cpl = 0;
    else if ((s.rflags & rflags_vm) != 0)
        c.cpl = 3;
    if (groups & state::debug) c.dr6 = p.dr6, c.dr7 = p.dr7;
    if (groups & state::system_msrs) {
        c.star = p.star, c.lstar = p.lstar, c.cstar = p.cstar, c.sfmask = p.sfmask;
        c.kernel_gs_base = p.kernel_gs_base;
        c.sysenter_cs = p.sysenter_cs, c.sysenter_esp = p.sysenter_esp;
        c.sysenter_eip = p.sysenter_eip;
    }
    if (groups & state::pat) c.g_pat = p.pat;
    if (groups & state::event) {
        constexpr std::uint64_t kind = vmcb::event_valid | vmcb::event_type;
        if ((p.event & kind) == (event_injection::valid | event_injection::type_nmi)) {
            svm::inject_nmi(v);
        } else {
            c.event_injection = p.event;
            v.guest.irregular |= irregular::event;
        }
    }
    return true;
}

// RIP and RFLAGS of a reply without rare groups, which nearly all are.
bool fit(const Vmcb& c, std::uint64_t groups, std::uint64_t rip, std::uint64_t rflags) {
    const guest_state::System s{c.cr0, c.cr3, c.cr4, c.efer, rip, rflags, c.cs.attributes};
    // Near where it is, or in what this mode can reach.
    if ((groups & state::rip) != 0 && (rip ^ c.rip) >> 32 != 0 && rip >> 32 != 0 &&
        (!s.long_code() || !s.is_canonical(rip))) [[unlikely]]
        return false;
    return (groups & state::rflags) == 0 || (rflags & guest_state::rflags_vm) == 0 ||
           !s.long_mode();
}

[[gnu::always_inline]] inline void load_registers(Vcpu& v, Vmcb& c, const VcpuState& p,
                                                  std::uint64_t groups) {
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
}

// What an emulated instruction changes as a rule: general registers, and RIP near where it was. False: it is more.
[[gnu::always_inline]] inline bool load_common(Vcpu& v, Vmcb& c, const VcpuState& p,
                                               std::uint64_t groups) {
    constexpr std::uint64_t common = state::gpr_low | state::gpr_mid | state::gpr_high | state::rip;
    if ((groups & state::valid_groups & ~common) != 0) return false;
    if (groups & state::rip) {
        const std::uint64_t rip = __atomic_load_n(&p.rip, __ATOMIC_RELAXED);
        if ((rip ^ c.rip) >> 32 != 0) return false;
        c.rip = rip;
        c.interrupt_shadow = 0;  // it belonged to the instruction before
    }
    load_registers(v, c, p, groups);
    return true;
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
    if ((groups & state::lazy) != 0) [[unlikely]]
        lazy_registers::store_state(v, groups);
}

Status load_state(Vcpu& v, std::uint64_t groups) {
    Vmcb& c = *v.guest.vmcb;
    const VcpuState& p = *v.page;
    if (load_common(v, c, p, groups)) [[likely]]
        return Status::ok;
    // Checks come first: a refused reply changes nothing.
    const std::uint64_t rip = __atomic_load_n(&p.rip, __ATOMIC_RELAXED);
    const std::uint64_t rflags = (__atomic_load_n(&p.rflags, __ATOMIC_RELAXED) & rflags_valid) | 2;
    if ((groups & rare_groups) != 0 ? !load_rare(v, groups, rip, rflags)
                                    : !fit(c, groups, rip, rflags))
        return Status::bad_argument;
    if ((groups & state::lazy) != 0) [[unlikely]] {
        const Status s = lazy_registers::load_state(v, groups);
        if (s != Status::ok) return s;
    }
    load_registers(v, c, p, groups);
    if (groups & state::rip) {
        c.rip = rip;
        c.interrupt_shadow = 0;  // it belonged to the instruction before
    }
    if (groups & state::rflags) c.rflags = rflags;
    if (groups & state::intercepts) {
        v.guest.wanted = p.intercepts;
        svm::apply_intercepts(v);
    }
    if (groups & state::tsc_offset) c.tsc_offset = p.tsc_offset;
    if (groups & state::shadow) c.interrupt_shadow = p.shadow & 1;
    return Status::ok;
}

}  // namespace margay::backend
