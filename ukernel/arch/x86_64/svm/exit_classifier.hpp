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
    std::uint64_t next_rip;  // of the instruction behind the one that exited, 0 if unknown
};

// Not for physical interrupts and NMI: those are no exits of the guest.
// gpr: the guest's registers by GprIndex, except RAX and RSP (in the VMCB).
inline Classified classify_exit(const Vmcb& v, const std::uint64_t* gpr, bool has_next_rip) {
    // Without the NRIP feature: the shortest encoding of the instruction.
    const auto next = [&](unsigned length) { return has_next_rip ? v.next_rip : v.rip + length; };
    const std::uint64_t code = v.exit_code;
    const std::uint64_t info1 = v.exit_info1;
    switch (code) {
    case vmcb::exit_io: {
        // EXITINFO1: port 31:16, size 6:4, REP 3, string 2, direction 0.
        std::uint64_t d = info1 >> 16 & port_access::port_mask;
        d |= (info1 >> 4 & 7) << port_access::width_shift;
        if (info1 & 1) d |= port_access::in;
        if (info1 & 4) d |= port_access::string;
        if (info1 & 8) d |= port_access::rep;
        return {ExitClass::port, d, v.exit_info2, v.exit_info2};
    }
    case vmcb::exit_npf: return {ExitClass::mmio, v.exit_info2, info1, 0};
    case vmcb::exit_msr: {
        const std::uint64_t index = gpr[gpr_rcx] & 0xffff'ffff;
        const std::uint64_t value = (v.rax & 0xffff'ffff) | gpr[gpr_rdx] << 32;
        return {ExitClass::msr, index | (info1 & 1) << 32, (info1 & 1) != 0 ? value : 0, next(2)};
    }
    case vmcb::exit_cpuid:
        return {ExitClass::cpuid, v.rax & 0xffff'ffff, gpr[gpr_rcx] & 0xffff'ffff, next(2)};
    case vmcb::exit_hlt: return {ExitClass::halt, 0, 0, next(1)};
    case vmcb::exit_vmmcall: return {ExitClass::hypercall, v.rax, gpr[gpr_rbx], next(3)};
    case vmcb::exit_vintr: return {ExitClass::interrupt_window, 0, 0, 0};
    case vmcb::exit_pause: return {ExitClass::pause, 0, 0, next(2)};
    case vmcb::exit_shutdown: return {ExitClass::shutdown, 0, 0, 0};
    case vmcb::exit_rdpmc: return {ExitClass::other, code, 0, next(2)};
    case vmcb::exit_invd:
    case vmcb::exit_wbinvd: return {ExitClass::other, code, 0, next(2)};
    default: break;
    }
    if (code < vmcb::dr_read_0)
        return {ExitClass::control_register, (code & 15) | (code >= vmcb::cr_write_0 ? 0x100u : 0u),
                info1, has_next_rip ? v.next_rip : 0};
    if (code >= vmcb::exception_0 && code <= vmcb::exception_31)
        return {ExitClass::exception, code - vmcb::exception_0, info1, 0};
    // VMEXIT_INVALID: all ones, in 64 bits or (some processors) 32.
    if ((code & 0xffff'ffff) == 0xffff'ffff) return {ExitClass::invalid_state, code, info1, 0};
    return {ExitClass::other, code, info1, has_next_rip ? v.next_rip : 0};
}

}  // namespace margay
