// Class cpuid.
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

// What the table does not know of the leaves that are asked for less.
CpuidResult Machine::follow_registers(const Exit& e, CpuidResult c) const {
    const auto leaf = static_cast<std::uint32_t>(e.detail0),
               subleaf = static_cast<std::uint32_t>(e.detail1);
    switch (leaf) {
    case 0x8000'0001: show_apic(c, board_.has_local_apic()); break;
    case 0xb: show_apic_id(c, leaf, board_.apic_id()); break;
    case 7: show_ospke(c, subleaf, e.detail1 >> 32); break;
    case 0xd:
        if (subleaf <= 1) show_xsave_size(c, subleaf, e.detail0 >> 32, board_.cpuid_table());
        break;
    default: break;
    }
    return c;
}

// All four registers of the group: their old values are not asked for.
void Machine::on_cpuid(const Exit& e, Reply& r) {
    const auto leaf = static_cast<std::uint32_t>(e.detail0);
    CpuidResult c = board_.cpuid(leaf, static_cast<std::uint32_t>(e.detail1));
    if (leaf == 1) {
        show_osxsave(c, e.detail1 >> 32);
        show_apic(c, board_.has_local_apic());
        show_apic_id(c, leaf, board_.apic_id());
    } else if (follows_registers(leaf)) {
        c = follow_registers(e, c);
    }
    state_.gpr[gpr_rax] = c.eax;
    state_.gpr[gpr_rbx] = c.ebx;
    state_.gpr[gpr_rcx] = c.ecx;
    state_.gpr[gpr_rdx] = c.edx;
    r.dirty = state::gpr_low;
}

}  // namespace margay::vmm
