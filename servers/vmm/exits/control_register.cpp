// Class control_register: CR8, which is the high half of the local APIC's task priority (AMD APM vol. 2
// §16.6.4), XSETBV, and writes to CR4, which the kernel intercepts under an emulator that does not check them. The
// processor does not name the general register, so the instruction is looked at: [REX] 0F 20/22 /r.
#include <array>

#include "servers/vmm/cpu/exception_vector.hpp"
#include "servers/vmm/emulator/cpu_mode.hpp"
#include "servers/vmm/emulator/instruction_fetch.hpp"
#include "servers/vmm/emulator/instruction_length.hpp"
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

// What MOV to CR4 accepts (AMD APM vol. 2 §3.1.3): bits of what CPUID offers, and PAE in long mode.
bool Machine::may_set_cr4(std::uint64_t value) const {
    constexpr std::uint64_t always = 0x7ff, efer_lma = 1 << 10, pae = 1 << 5;
    const CpuidResult basic = board_.cpuid(1, 0), features = board_.cpuid(7, 0);
    const auto bit = [](std::uint32_t word, unsigned from, unsigned to) {
        return static_cast<std::uint64_t>(word >> from & 1) << to;
    };
    const std::uint64_t allowed = always | bit(features.ecx, 2, 11) | bit(features.ebx, 0, 16) |
                                  bit(basic.ecx, 26, 18) | bit(features.ebx, 7, 20) |
                                  bit(features.ebx, 20, 21) | bit(features.ecx, 3, 22);
    return (value & ~allowed) == 0 && ((value & pae) != 0 || (state_.efer & efer_lma) == 0);
}

namespace {

bool is_64bit_code(const VcpuState& s) { return CpuMode::of(s).is_64bit(); }
}  // namespace

// AMD APM vol. 2 §11.5.2.
void Machine::on_xsetbv(const Exit& e, Reply& r) {
    read_state(state::segments);
    const bool privileged = (state_.ss.attributes >> 5 & 3) == 0;
    const std::uint64_t number = e.detail0 & register_access::number_mask;
    if (!privileged || number != 0 || !xcr0::is_valid(e.detail1, board_.cpuid(0xd, 0).eax)) {
        inject_exception(r, exception_vector::general_protection, true, 0);
        return;
    }
    state_.xcr0 = e.detail1;
    r.dirty |= state::xcr0;
}

void Machine::on_control_register(const Exit& e, Reply& r) {
    if ((e.detail0 & register_access::xcr) != 0) {
        on_xsetbv(e, r);
        return;
    }
    read_state(state::gpr_low | state::gpr_mid | state::gpr_high | state::rip | state::rflags |
               state::segments | state::control);
    std::array<std::byte, 15> code;
    const std::size_t bytes = read_guest_code(ram_, state_, code);
    const unsigned length = decode_length(ram_, state_);
    const bool write = (e.detail0 & register_access::write) != 0;
    const std::uint64_t number = e.detail0 & register_access::number_mask;
    if ((number != 8 && (number != 4 || !write)) || length < 3 || length > bytes) {
        fail(r, "an access to a control register that is not intercepted");
        return;
    }
    const auto modrm = static_cast<unsigned>(code[length - 1]);
    const auto before_opcode = length > 3 ? static_cast<unsigned>(code[length - 4]) : 0;
    const bool rex_b = (before_opcode & 0xf0) == 0x40 && (before_opcode & 1) != 0;
    std::uint64_t& reg = state_.gpr[(modrm & 7) + (rex_b ? 8 : 0)];
    if (number == 4) {
        // Other code than that of 64 bits has registers of 32.
        const std::uint64_t value = is_64bit_code(state_) ? reg : reg & 0xffff'ffff;
        if (!may_set_cr4(value)) {
            inject_exception(r, exception_vector::general_protection, true, 0);
            return;
        }
        state_.cr4 = value;
        r.dirty |= state::control;
    } else if (write) {
        if (reg > 15) {
            inject_exception(r, exception_vector::general_protection, true, 0);
            return;
        }
        board_.set_task_priority(static_cast<std::uint8_t>(reg << 4));
    } else {
        reg = board_.task_priority() >> 4;
        r.dirty |= state::gpr_low | state::gpr_mid | state::gpr_high;
    }
    unusual_.length = static_cast<std::uint8_t>(length);
}

}  // namespace margay::vmm
