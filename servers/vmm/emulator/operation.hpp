#pragma once

#include <cstdint>

namespace margay::vmm {

/// What an instruction does, for those that are emulated. Memory operands are explicit (ModRM or moffs) but
/// for the string kinds.
enum class OperationKind : std::uint8_t {
    unsupported,  ///< decoded, with its length, but not emulated
    mov,          ///< either direction, MOVBE with `byte_swap`
    move_zero_extend,
    move_sign_extend,
    // Arithmetic with two operands, in either direction.
    add,
    adc,
    sub,
    sbb,
    and_,
    or_,
    xor_,
    cmp,
    test,
    // One operand, in memory.
    inc,
    dec,
    not_,
    neg,
    exchange,
    exchange_add,
    compare_exchange,
    bit_test,
    bit_set,
    bit_reset,
    bit_complement,
    push,
    pop,
    set_condition,
    store_machine_status,  ///< SMSW
    store_segment,         ///< MOV from the segment register `other_register`
    move_condition,
    // Strings.
    movs,
    stos,
    lods,
    scas,
    cmps,
    ins,
    outs,
};

enum class Repeat : std::uint8_t { none, always_or_equal, not_equal };

/// Where the operand beside memory comes from.
enum class OtherOperand : std::uint8_t { none, gpr, immediate };

/// A decoded instruction: everything needed to execute it with a vCPU's registers.
struct Operation {
    static constexpr std::uint8_t no_register = 0xff;
    static constexpr std::uint8_t rip_register = 0xfe;

    OperationKind kind;
    std::uint8_t length;        ///< bytes, 1..15
    std::uint8_t width;         ///< of the memory operand in bytes: 1, 2, 4, 8
    std::uint8_t target_width;  ///< of the register that is written, if wider
    OtherOperand other;
    std::uint8_t other_register;  ///< GprIndex
    bool other_is_high_byte;      ///< AH, CH, DH, BH
    bool memory_is_target;        ///< memory is the first operand
    bool memory_is_written;
    bool byte_swap;          ///< MOVBE
    bool is_simple_move;     ///< MOV of 4 or 8 bytes
    std::uint8_t condition;  ///< for SETcc and CMOVcc: low 4 opcode bits
    Repeat repeat;
    // The effective address: (base + index * scale + displacement) modulo the address width.
    std::uint8_t segment;        ///< 0..5: ES CS SS DS FS GS
    std::uint8_t base;           ///< GprIndex, no_register or rip_register (the next instruction)
    std::uint8_t index;          ///< GprIndex or no_register
    std::uint8_t scale;          ///< 1, 2, 4, 8
    std::uint8_t address_width;  ///< 2, 4 or 8 bytes
    std::int64_t displacement;
    std::int64_t immediate;
    std::uint64_t address_mask;  ///< the bits of an address of `address_width`
    std::uint64_t width_mask;    ///< the bits of a value of `width`
};

[[nodiscard]] constexpr std::uint64_t width_mask(unsigned width) noexcept {
    return ~std::uint64_t{0} >> (64 - 8 * width);
}

/// Whether a kind with one explicit memory operand writes it, if that is the first operand.
[[nodiscard]] constexpr bool can_write(OperationKind kind) noexcept {
    using K = OperationKind;
    return kind != K::cmp && kind != K::test && kind != K::bit_test && kind != K::push;
}

}  // namespace margay::vmm
