// What has no handler of its own: the guest's own failures, and instructions that need none.
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

void Machine::on_other(const Exit& e, Reply& r) {
    constexpr unsigned invalid_opcode = 6;
    constexpr unsigned general_protection = 13;
    switch (e.exit_class) {
    case ExitClass::shutdown: fail(r, "triple fault"); return;
    case ExitClass::invalid_state: fail(r, "the processor refused the guest's state"); return;
    case ExitClass::pause: return;
    case ExitClass::interrupt_window: r.action = Action::resume; return;
    default: break;
    }
    // AMD exit codes: INVD and WBINVD change nothing that a guest could see here; VMRUN and its kind,
    // MONITOR and the rest are not announced by CPUID.
    switch (e.detail0) {
    case 0x076:
    case 0x089: return;
    case 0x06f: inject_exception(r, general_protection, true, 0); return;
    default: break;
    }
    if (e.exit_class == ExitClass::other && e.detail0 >= 0x07a && e.detail0 <= 0x08d) {
        inject_exception(r, invalid_opcode, false, 0);
        return;
    }
    fail(r, "an exit that the VMM does not know");
}

}  // namespace margay::vmm
