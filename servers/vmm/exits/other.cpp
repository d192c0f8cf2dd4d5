// What has no handler of its own: the guest's own failures, and instructions that need none.
#include "servers/vmm/cpu/exception_vector.hpp"
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

// The counters that exist do not count.
[[gnu::noinline, gnu::cold]] void Machine::on_rdpmc(Reply& r) {
    constexpr std::uint64_t cr4_pce = 1 << 8;
    read_state(state::gpr_low | state::segments | state::control);
    const bool may = (state_.cr4 & cr4_pce) != 0 || (state_.ss.attributes >> 5 & 3) == 0;
    if (!may || static_cast<std::uint32_t>(state_.gpr[gpr_rcx]) >= performance_counters) {
        inject_exception(r, exception_vector::general_protection, true, 0);
        return;
    }
    state_.gpr[gpr_rax] = state_.gpr[gpr_rdx] = 0;
    r.dirty |= state::gpr_low;
}

void Machine::on_other(const Exit& e, Reply& r) {
    switch (e.exit_class) {
    case ExitClass::shutdown: fail(r, "triple fault"); return;
    case ExitClass::invalid_state: fail(r, "the processor refused the guest's state"); return;
    // INVD and WBINVD change nothing that a guest could see here.
    case ExitClass::cache_control: return;
    // It spins, maybe for a vCPU that waits for this core.
    case ExitClass::pause: r.action = Action::give_way; return;
    case ExitClass::interrupt_window: r.action = Action::resume; return;
    case ExitClass::rdpmc: on_rdpmc(r); return;
    case ExitClass::unsupported_instruction:
        inject_exception(r, exception_vector::invalid_opcode, false, 0);
        return;
    default: fail(r, "an exit that the VMM does not know"); return;
    }
}

}  // namespace margay::vmm
