// What has no handler of its own: the guest's own failures, and instructions that need none.
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

void Machine::on_other(const Exit& e, Reply& r) {
    constexpr unsigned invalid_opcode = 6;
    constexpr unsigned general_protection = 13;
    switch (e.exit_class) {
    case ExitClass::shutdown: fail(r, "triple fault"); return;
    case ExitClass::invalid_state: fail(r, "the processor refused the guest's state"); return;
    // INVD and WBINVD change nothing that a guest could see here.
    case ExitClass::pause:
    case ExitClass::cache_control: return;
    case ExitClass::interrupt_window: r.action = Action::resume; return;
    case ExitClass::rdpmc: inject_exception(r, general_protection, true, 0); return;
    case ExitClass::unsupported_instruction: inject_exception(r, invalid_opcode, false, 0); return;
    default: fail(r, "an exit that the VMM does not know"); return;
    }
}

}  // namespace margay::vmm
