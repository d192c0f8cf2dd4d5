#pragma once

#include "servers/vmm/emulator/cpu_mode.hpp"
#include "servers/vmm/emulator/operation.hpp"

#include <cstdint>

namespace margay::vmm {

[[nodiscard]] constexpr std::uint64_t sign_extend(std::uint64_t value, unsigned width) noexcept {
    const unsigned unused = 64 - 8 * width;
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(value << unused) >> unused);
}

/// What an instruction computes, and RFLAGS after it.
struct ArithmeticResult {
    std::uint64_t value;
    std::uint64_t rflags;
};

/// SF, ZF and PF of a value of `width` bytes (AMD APM vol. 1 §3.1.4).
[[nodiscard]] constexpr std::uint64_t value_flags(std::uint64_t value, unsigned width) noexcept {
    std::uint64_t flags = (value >> (8 * width - 1)) != 0 ? rflags::sf : 0;
    if (value == 0) {
        flags |= rflags::zf;
    }
    // PF: an even number of ones in the low byte. 0x9669 has bit n set if n has an even number of ones.
    if (((0x9669U >> ((value ^ (value >> 4)) & 15)) & 1) != 0) {
        flags |= rflags::pf;
    }
    return flags;
}

/// ADD, ADC, SUB, SBB, AND, OR, XOR, CMP, TEST, and INC, DEC, NEG with b = 1 or, for NEG, a = 0. Operands and
/// value are `width` bytes, zero-extended. AF, which the logical ones leave undefined, becomes 0.
[[nodiscard]] constexpr ArithmeticResult compute(OperationKind kind, std::uint64_t a,
                                                 std::uint64_t b, unsigned width,
                                                 std::uint64_t flags) noexcept {
    using K = OperationKind;
    const std::uint64_t mask = width_mask(width);
    const unsigned top = 8 * width - 1;
    const std::uint64_t kept = flags & ~rflags::arithmetic;
    std::uint64_t value = 0;
    std::uint64_t carries = 0;  // bit n: carry or borrow out of bit n
    std::uint64_t overflow = 0;
    switch (kind) {
    case K::add:
    case K::adc:
    case K::inc:
    case K::exchange_add:
        value = (a + b + (kind == K::adc ? flags & rflags::cf : 0)) & mask;
        carries = (a & b) | ((a | b) & ~value);
        overflow = (a ^ value) & (b ^ value);
        break;
    case K::and_:
    case K::test: value = a & b; break;
    case K::or_: value = a | b; break;
    case K::xor_: value = a ^ b; break;
    default:  // SUB, SBB, CMP, DEC, NEG and what compares
        value = (a - b - (kind == K::sbb ? flags & rflags::cf : 0)) & mask;
        carries = (~a & b) | ((~a | b) & value);
        overflow = (a ^ b) & (a ^ value);
        break;
    }
    std::uint64_t result = kept | value_flags(value, width);
    result |= kind == K::inc || kind == K::dec ? flags & rflags::cf : (carries >> top) & 1;
    result |= ((carries >> 3) & 1) << 4;
    result |= ((overflow >> top) & 1) << 11;
    return {value, result};
}

/// The condition of Jcc, SETcc and CMOVcc by its number, the low 4 opcode bits (AMD APM vol. 3 §1.2.4).
[[nodiscard]] constexpr bool condition_holds(unsigned condition, std::uint64_t flags) noexcept {
    const bool sign_differs = ((flags & rflags::sf) != 0) != ((flags & rflags::of) != 0);
    bool holds = false;
    switch (condition >> 1) {
    case 0: holds = (flags & rflags::of) != 0; break;
    case 1: holds = (flags & rflags::cf) != 0; break;
    case 2: holds = (flags & rflags::zf) != 0; break;
    case 3: holds = (flags & (rflags::cf | rflags::zf)) != 0; break;
    case 4: holds = (flags & rflags::sf) != 0; break;
    case 5: holds = (flags & rflags::pf) != 0; break;
    case 6: holds = sign_differs; break;
    default: holds = sign_differs || (flags & rflags::zf) != 0; break;
    }
    return holds != ((condition & 1) != 0);
}

}  // namespace margay::vmm
