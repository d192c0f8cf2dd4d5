// Class control_register: only CR8 is intercepted; it is the high half of the local APIC's task
// priority (AMD APM vol. 2 §16.6.4). The processor does not name the general register, so the
// instruction is looked at: [REX] 0F 20/22 /r.
#include <array>

#include "servers/vmm/emulator/instruction_fetch.hpp"
#include "servers/vmm/emulator/instruction_length.hpp"
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

void Machine::on_control_register(const Exit& e, Reply& r) {
    constexpr unsigned general_protection = 13;
    read_state(state::gpr_low | state::gpr_mid | state::gpr_high | state::rip | state::rflags |
               state::segments | state::control);
    std::array<std::byte, 15> code;
    const std::size_t bytes = read_guest_code(ram_, state_, code);
    const unsigned length = decode_length(ram_, state_);
    if ((e.detail0 & 0xff) != 8 || length < 3 || length > bytes) {
        fail(r, "an access to a control register that is not intercepted");
        return;
    }
    const auto modrm = static_cast<unsigned>(code[length - 1]);
    const auto before_opcode = length > 3 ? static_cast<unsigned>(code[length - 4]) : 0;
    const bool rex_b = (before_opcode & 0xf0) == 0x40 && (before_opcode & 1) != 0;
    std::uint64_t& reg = state_.gpr[(modrm & 7) + (rex_b ? 8 : 0)];
    if ((e.detail0 & 0x100) != 0) {
        if (reg > 15) {
            inject_exception(r, general_protection, true, 0);
            return;
        }
        board_.set_task_priority(static_cast<std::uint8_t>(reg << 4));
    } else {
        reg = board_.task_priority() >> 4;
        r.dirty |= state::gpr_low | state::gpr_mid | state::gpr_high;
    }
    state_.rip = e.rip + length;
    r.dirty |= state::rip;
    r.action = Action::resume;
}

}  // namespace margay::vmm
