// From the processor's exit codes to Margay's exit classes (AMD APM vol. 2 appendix C).
// Pure: reads a VMCB and the registers, so that host tests run it.
#pragma once
#include <cstdint>

#include "proto/exit.hpp"
#include "ukernel/arch/x86_64/svm/vmcb.hpp"

namespace margay {

struct Classified {
    ExitClass exit_class;
    std::uint64_t detail0, detail1;
    std::uint64_t next_rip = 0;  // of the instruction behind the one that exited, 0 if unknown
    std::uint64_t flags = 0;     // exit_flag::length_assumed
};

// Not for physical interrupts and NMI: those are no exits of the guest.
// gpr: the guest's registers by GprIndex, except RAX and RSP (in the VMCB). read_xcr0(): the guest's XCR0.
template <typename ReadXcr0>
Classified classify_exit(const Vmcb& v, const std::uint64_t* gpr, bool has_next_rip,
                         ReadXcr0 read_xcr0) {
    const std::uint64_t code = v.exit_code;
    const std::uint64_t info1 = v.exit_info1;
    // An instruction that may be skipped. Without the NRIP feature: its shortest encoding.
    const auto skippable = [&](ExitClass c, std::uint64_t d0, std::uint64_t d1, unsigned length) {
        return has_next_rip ? Classified{c, d0, d1, v.next_rip}
                            : Classified{c, d0, d1, v.rip + length, exit_flag::length_assumed};
    };
    const auto known_next = [&] { return has_next_rip ? v.next_rip : 0; };
    const std::uint64_t ecx = gpr[gpr_rcx] & 0xffff'ffff;
    // The most frequent ones first: without jump tables a switch is a search.
    if (code == vmcb::exit_io) [[likely]] {
        // EXITINFO1: port 31:16, size 6:4, REP 3, string 2, direction 0.
        std::uint64_t d = info1 >> 16 & port_access::port_mask;
        d |= (info1 >> 4 & 7) << port_access::width_shift;
        if (info1 & 1) d |= port_access::in;
        if (info1 & 4) d |= port_access::string;
        if (info1 & 8) d |= port_access::rep;
        return {ExitClass::port, d, v.exit_info2, v.exit_info2};
    }
    if (code == vmcb::exit_vmmcall) [[likely]]
        return skippable(ExitClass::hypercall, v.rax, gpr[gpr_rbx], 3);
    if (code == vmcb::exit_cpuid) [[likely]] {
        constexpr std::uint32_t xsave_leaf = 0xd;
        std::uint64_t leaf = v.rax & 0xffff'ffff;
        if (leaf == xsave_leaf) [[unlikely]]
            leaf |= read_xcr0() << 32;
        return skippable(ExitClass::cpuid, leaf, ecx | v.cr4 << 32, 2);
    }
    if (code == vmcb::exit_npf) [[likely]]
        return {ExitClass::mmio, v.exit_info2, info1};
    switch (code) {
    case vmcb::exit_msr: {
        const std::uint64_t value = (v.rax & 0xffff'ffff) | gpr[gpr_rdx] << 32;
        return skippable(ExitClass::msr, ecx | (info1 & 1) << 32, (info1 & 1) != 0 ? value : 0, 2);
    }
    case vmcb::exit_hlt: return skippable(ExitClass::halt, 0, 0, 1);
    case vmcb::exit_vintr: return {ExitClass::interrupt_window, 0, 0};
    case vmcb::exit_pause: return skippable(ExitClass::pause, 0, 0, 2);
    case vmcb::exit_shutdown: return {ExitClass::shutdown, 0, 0};
    case vmcb::exit_rdpmc: return skippable(ExitClass::rdpmc, ecx, 0, 2);
    case vmcb::exit_invd: return skippable(ExitClass::cache_control, 0, 0, 2);
    case vmcb::exit_wbinvd: return skippable(ExitClass::cache_control, 1, 0, 2);
    case vmcb::exit_xsetbv:
        return skippable(ExitClass::control_register,
                         register_access::xcr | (ecx < 0xff ? ecx : 0xff),
                         (v.rax & 0xffff'ffff) | gpr[gpr_rdx] << 32, 3);
    case vmcb::exit_rdtsc: return skippable(ExitClass::time_stamp, 0, 0, 2);
    case vmcb::exit_rdtscp: return {ExitClass::time_stamp, 1, 0, known_next()};
    case vmcb::exit_invlpg: return {ExitClass::translation, 0, 0, known_next()};
    case vmcb::exit_task_switch: return {ExitClass::task_switch, info1 & 0xffff, 0};
    case vmcb::exit_ferr_freeze: return {ExitClass::legacy_fpu_error, 0, 0};
    case vmcb::exit_invlpga:
    case vmcb::exit_vmrun:
    case vmcb::exit_vmload:
    case vmcb::exit_vmsave:
    case vmcb::exit_stgi:
    case vmcb::exit_clgi:
    case vmcb::exit_skinit:
    case vmcb::exit_monitor:
    case vmcb::exit_mwait:
    case vmcb::exit_mwait_armed: return {ExitClass::unsupported_instruction, 0, 0, known_next()};
    default: break;
    }
    if (code < vmcb::dr_read_0)
        return {ExitClass::control_register,
                (code & 15) | (code >= vmcb::cr_write_0 ? register_access::write : 0u), info1,
                known_next()};
    if (code < vmcb::exception_0)
        return {ExitClass::debug_register,
                (code & 15) | (code >= vmcb::dr_write_0 ? register_access::write : 0u), 0,
                known_next()};
    if (code <= vmcb::exception_31) return {ExitClass::exception, code - vmcb::exception_0, info1};
    // VMEXIT_INVALID: all ones, in 64 bits or (some processors) 32.
    if ((code & 0xffff'ffff) == 0xffff'ffff) return {ExitClass::invalid_state, 0, 0};
    return {ExitClass::unknown, 0, 0};
}

}  // namespace margay
