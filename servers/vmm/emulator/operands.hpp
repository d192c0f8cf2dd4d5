#pragma once

#include "servers/vmm/emulator/operation.hpp"

#include "proto/vcpu_state.hpp"

#include <cstdint>

namespace margay::vmm {

/// The source beside memory: a register or an immediate, of the width of the memory operand.
[[nodiscard]] inline std::uint64_t read_other(const VcpuState& s,
                                              const Operation& operation) noexcept {
    if (operation.other == OtherOperand::immediate) {
        return static_cast<std::uint64_t>(operation.immediate) & operation.width_mask;
    }
    const std::uint64_t value = s.gpr[operation.other_register & 15];
    return (operation.other_is_high_byte ? value >> 8 : value) & operation.width_mask;
}

/// The effective address of the memory operand: its offset in the segment.
[[nodiscard]] inline std::uint64_t offset_of(const VcpuState& s,
                                             const Operation& operation) noexcept {
    auto offset = static_cast<std::uint64_t>(operation.displacement);
    if (operation.base < 16) {
        offset += s.gpr[operation.base];
    } else if (operation.base == Operation::rip_register) {
        offset += s.rip + operation.length;
    }
    if (operation.index < 16) {
        offset += s.gpr[operation.index] * operation.scale;
    }
    return offset & operation.address_mask;
}

/// In 64-bit mode only FS and GS have a base (AMD APM vol. 2 §4.5.3).
[[nodiscard]] inline std::uint64_t linear_64bit(const VcpuState& s, unsigned segment,
                                                std::uint64_t offset) noexcept {
    constexpr unsigned fs_index = 4;
    if (segment >= fs_index) [[unlikely]] {
        offset += segment == fs_index ? s.fs.base : s.gs.base;
    }
    return offset;
}

}  // namespace margay::vmm
