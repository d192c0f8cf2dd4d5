// Class cpuid.
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

void Machine::on_cpuid(const Exit& e, Reply& r) {
    const CpuidResult c =
        board_.cpuid(static_cast<std::uint32_t>(e.detail0), static_cast<std::uint32_t>(e.detail1));
    state_.gpr[gpr_rax] = c.eax;
    state_.gpr[gpr_rbx] = c.ebx;
    state_.gpr[gpr_rcx] = c.ecx;
    state_.gpr[gpr_rdx] = c.edx;
    r.dirty = state::gpr_low;
}

}  // namespace margay::vmm
