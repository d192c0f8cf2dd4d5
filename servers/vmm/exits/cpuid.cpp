// Class cpuid.
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

void Machine::on_cpuid(const Exit& e, Reply& r) {
    const auto leaf = static_cast<std::uint32_t>(e.detail0),
               subleaf = static_cast<std::uint32_t>(e.detail1);
    CpuidResult c = board_.cpuid(leaf, subleaf);
    switch (leaf) {
    case 1:
        show_osxsave(c, e.detail1 >> 32);
        show_apic(c, board_.has_local_apic());
        show_apic_id(c, leaf, board_.apic_id());
        break;
    case 0x8000'0001: show_apic(c, board_.has_local_apic()); break;
    case 0xb: show_apic_id(c, leaf, board_.apic_id()); break;
    case 7: show_ospke(c, subleaf, e.detail1 >> 32); break;
    case 0xd:
        if (subleaf <= 1) show_xsave_size(c, subleaf, e.detail0 >> 32, board_.cpuid_table());
        break;
    default: break;
    }
    state_.gpr[gpr_rax] = c.eax;
    state_.gpr[gpr_rbx] = c.ebx;
    state_.gpr[gpr_rcx] = c.ecx;
    state_.gpr[gpr_rdx] = c.edx;
    r.dirty = state::gpr_low;
}

}  // namespace margay::vmm
