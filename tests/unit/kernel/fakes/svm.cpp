// Guests of the simulated machine under the kernel's SVM back end: VMRUN, and exits through the VMCB.
#include "guest.hpp"
#include "machine.hpp"

extern "C" [[noreturn]] void guest_exited(margay::Vcpu* vcpu);
extern "C" [[noreturn]] void svm_enter(margay::Vcpu* v) { throw margay::machine::Entered{v}; }

namespace margay::machine {

void reset_backend(Core& core) { core.backend = {0, {1, 16, 1}}; }
void set_rip(Vcpu& v, std::uint64_t rip) { v.guest.vmcb->rip = rip; }

void exit(Vcpu& v, ExitClass exit_class, std::uint64_t detail0, std::uint64_t detail1) {
    Vmcb& c = *v.guest.vmcb;
    c.exit_info1 = c.exit_info2 = 0;
    switch (exit_class) {
    case ExitClass::cpuid: c.exit_code = vmcb::exit_cpuid; break;
    case ExitClass::halt: c.exit_code = vmcb::exit_hlt; break;
    case ExitClass::mmio:
        c.exit_code = vmcb::exit_npf;
        c.exit_info1 = detail1;
        c.exit_info2 = detail0;
        break;
    case ExitClass::port:
        c.exit_code = vmcb::exit_io;
        c.exit_info1 = (detail0 & port_access::port_mask) << 16 |
                       (detail0 >> port_access::width_shift & 7) << 4 |
                       ((detail0 & port_access::in) != 0 ? 1 : 0);
        c.exit_info2 = detail1;
        break;
    default: throw Panic{"no such exit in tests"};
    }
    guest_exited(&v);
}

}  // namespace margay::machine
