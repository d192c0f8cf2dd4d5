// Class port: IN and OUT; the string forms go through the emulator.
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

void Machine::on_port(const Exit& e, Reply& r) {
    const auto port = static_cast<std::uint16_t>(e.detail0);
    const unsigned width = static_cast<unsigned>(e.detail0 >> port_access::width_shift) & 7;
    if ((e.detail0 & port_access::string) != 0) [[unlikely]] {
        on_port_string(e, r);
        return;
    }
    if ((e.detail0 & port_access::in) == 0) {
        if (width == 1)
            board_.port_write(port, 1, e.rax & 0xff);
        else if (width == 2)
            board_.port_write(port, 2, e.rax & 0xffff);
        else
            board_.port_write(port, 4, static_cast<std::uint32_t>(e.rax));
        return;
    }
    const std::uint64_t value = board_.port_read(port, width);
    // A 32-bit result clears the upper half, a shorter one leaves the rest of RAX.
    if (width == 1)
        r.set_rax((e.rax & ~0xffull) | (value & 0xff));
    else if (width == 2)
        r.set_rax((e.rax & ~0xffffull) | (value & 0xffff));
    else
        r.set_rax(value);
}

}  // namespace margay::vmm
