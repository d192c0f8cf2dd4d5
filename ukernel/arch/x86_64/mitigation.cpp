#include "ukernel/arch/x86_64/mitigation.hpp"

#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/patch.hpp"
#include "ukernel/core/feature.hpp"

extern "C" {
// Places in the assembler files, and what comes there.
extern std::uint8_t clac_site[], ipc_switch_site[], guest_exited_site[], iret_site[],
    indirect_thunks[];
extern std::uint8_t* const sysret_sites_begin[];
extern std::uint8_t* const sysret_sites_end[];
extern const char ipc_switch_barrier[], clear_and_sysret[], clear_and_iret[], fill_rsb[];
}

namespace margay {

namespace {

Mitigations chosen;

SpeculationCpuid read_cpuid() {
    SpeculationCpuid c;
    const auto vendor = cpu::cpuid(0);
    c.amd = vendor.ebx == 0x68747541;  // "Auth"
    if (vendor.eax >= 7) c.leaf7_edx = cpu::cpuid(7).edx;
    const std::uint32_t extended = cpu::cpuid(0x80000000).eax;
    if (extended >= 0x80000008) c.extended8_ebx = cpu::cpuid(0x80000008).ebx;
    if (extended >= 0x80000021) c.extended21_eax = cpu::cpuid(0x80000021).eax;
    if ((c.leaf7_edx >> 29 & 1) != 0)
        c.arch_capabilities = cpu::read_msr(cpu::msr::arch_capabilities);
    return c;
}

}  // namespace

const Mitigations& mitigations() { return chosen; }

void init_mitigations(std::string_view options) {
    constexpr std::uint8_t jmp = 0xe9, call = 0xe8;
    chosen = choose_mitigations(read_cpuid(), options);
    if (features().smap) patch::clac(clac_site);
    if (chosen.ibpb) patch::branch(ipc_switch_site, jmp, ipc_switch_barrier, 7);
    if (chosen.fill_rsb) patch::branch(guest_exited_site, call, fill_rsb, 5);
    if (chosen.verw) {
        patch::branch(iret_site, jmp, clear_and_iret, 5);
        for (auto site = sysret_sites_begin; site != sysret_sites_end; ++site)
            patch::branch(*site, jmp, clear_and_sysret, 6);
    }
    constexpr unsigned thunk_bytes = 32, rsp = 4;
    if (!chosen.retpolines)
        for (unsigned reg = 0; reg < 16; ++reg)
            if (reg != rsp) patch::indirect_jump(indirect_thunks + reg * thunk_bytes, reg);
}

void enable_mitigations() {
    if (chosen.auto_ibrs)
        cpu::write_msr(cpu::msr::efer, cpu::read_msr(cpu::msr::efer) | cpu::efer::aibrse);
    const std::uint64_t control = (chosen.ibrs ? 1 : 0) | (chosen.stibp ? 2 : 0);
    if (control != 0) cpu::write_msr(cpu::msr::spec_ctrl, control);
}

void branch_barrier() { cpu::write_msr(cpu::msr::pred_cmd, 1); }

}  // namespace margay
