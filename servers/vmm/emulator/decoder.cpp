#include "servers/vmm/emulator/decoder.hpp"

#include <Zydis/Zydis.h>

#include <optional>

namespace margay::vmm {

namespace {

struct Register {
    std::uint8_t index;
    bool high_byte;
};

std::optional<Register> general_register(ZydisRegister name) {
    const auto value = static_cast<unsigned>(name);
    const auto at = [value](ZydisRegister first) {
        return static_cast<std::uint8_t>(value - static_cast<unsigned>(first));
    };
    if (name >= ZYDIS_REGISTER_AL && name <= ZYDIS_REGISTER_R15B) {
        // AL CL DL BL, AH CH DH BH, SPL BPL SIL DIL, R8B …
        const auto position = at(ZYDIS_REGISTER_AL);
        if (position < 4) {
            return Register{position, false};
        }
        return Register{static_cast<std::uint8_t>(position - 4), position < 8};
    }
    if (name >= ZYDIS_REGISTER_AX && name <= ZYDIS_REGISTER_R15W) {
        return Register{at(ZYDIS_REGISTER_AX), false};
    }
    if (name >= ZYDIS_REGISTER_EAX && name <= ZYDIS_REGISTER_R15D) {
        return Register{at(ZYDIS_REGISTER_EAX), false};
    }
    if (name >= ZYDIS_REGISTER_RAX && name <= ZYDIS_REGISTER_R15) {
        return Register{at(ZYDIS_REGISTER_RAX), false};
    }
    return {};
}

std::uint8_t address_register(ZydisRegister name) {
    if (name == ZYDIS_REGISTER_RIP || name == ZYDIS_REGISTER_EIP) {
        return Operation::rip_register;
    }
    const auto found = general_register(name);
    return found ? found->index : Operation::no_register;
}

OperationKind kind_of(ZydisMnemonic mnemonic) {
    using K = OperationKind;
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
    case ZYDIS_MNEMONIC_MOVBE: return K::mov;
    case ZYDIS_MNEMONIC_MOVZX: return K::move_zero_extend;
    case ZYDIS_MNEMONIC_MOVSX:
    case ZYDIS_MNEMONIC_MOVSXD: return K::move_sign_extend;
    case ZYDIS_MNEMONIC_ADD: return K::add;
    case ZYDIS_MNEMONIC_ADC: return K::adc;
    case ZYDIS_MNEMONIC_SUB: return K::sub;
    case ZYDIS_MNEMONIC_SBB: return K::sbb;
    case ZYDIS_MNEMONIC_AND: return K::and_;
    case ZYDIS_MNEMONIC_OR: return K::or_;
    case ZYDIS_MNEMONIC_XOR: return K::xor_;
    case ZYDIS_MNEMONIC_CMP: return K::cmp;
    case ZYDIS_MNEMONIC_TEST: return K::test;
    case ZYDIS_MNEMONIC_INC: return K::inc;
    case ZYDIS_MNEMONIC_DEC: return K::dec;
    case ZYDIS_MNEMONIC_NOT: return K::not_;
    case ZYDIS_MNEMONIC_NEG: return K::neg;
    case ZYDIS_MNEMONIC_XCHG: return K::exchange;
    case ZYDIS_MNEMONIC_XADD: return K::exchange_add;
    case ZYDIS_MNEMONIC_CMPXCHG: return K::compare_exchange;
    case ZYDIS_MNEMONIC_BT: return K::bit_test;
    case ZYDIS_MNEMONIC_BTS: return K::bit_set;
    case ZYDIS_MNEMONIC_BTR: return K::bit_reset;
    case ZYDIS_MNEMONIC_BTC: return K::bit_complement;
    case ZYDIS_MNEMONIC_SMSW: return K::store_machine_status;
    case ZYDIS_MNEMONIC_PUSH: return K::push;
    case ZYDIS_MNEMONIC_POP: return K::pop;
    case ZYDIS_MNEMONIC_SETB:
    case ZYDIS_MNEMONIC_SETBE:
    case ZYDIS_MNEMONIC_SETL:
    case ZYDIS_MNEMONIC_SETLE:
    case ZYDIS_MNEMONIC_SETNB:
    case ZYDIS_MNEMONIC_SETNBE:
    case ZYDIS_MNEMONIC_SETNL:
    case ZYDIS_MNEMONIC_SETNLE:
    case ZYDIS_MNEMONIC_SETNO:
    case ZYDIS_MNEMONIC_SETNP:
    case ZYDIS_MNEMONIC_SETNS:
    case ZYDIS_MNEMONIC_SETNZ:
    case ZYDIS_MNEMONIC_SETO:
    case ZYDIS_MNEMONIC_SETP:
    case ZYDIS_MNEMONIC_SETS:
    case ZYDIS_MNEMONIC_SETZ: return K::set_condition;
    case ZYDIS_MNEMONIC_CMOVB:
    case ZYDIS_MNEMONIC_CMOVBE:
    case ZYDIS_MNEMONIC_CMOVL:
    case ZYDIS_MNEMONIC_CMOVLE:
    case ZYDIS_MNEMONIC_CMOVNB:
    case ZYDIS_MNEMONIC_CMOVNBE:
    case ZYDIS_MNEMONIC_CMOVNL:
    case ZYDIS_MNEMONIC_CMOVNLE:
    case ZYDIS_MNEMONIC_CMOVNO:
    case ZYDIS_MNEMONIC_CMOVNP:
    case ZYDIS_MNEMONIC_CMOVNS:
    case ZYDIS_MNEMONIC_CMOVNZ:
    case ZYDIS_MNEMONIC_CMOVO:
    case ZYDIS_MNEMONIC_CMOVP:
    case ZYDIS_MNEMONIC_CMOVS:
    case ZYDIS_MNEMONIC_CMOVZ: return K::move_condition;
    case ZYDIS_MNEMONIC_MOVSB:
    case ZYDIS_MNEMONIC_MOVSW:
    case ZYDIS_MNEMONIC_MOVSD:
    case ZYDIS_MNEMONIC_MOVSQ: return K::movs;
    case ZYDIS_MNEMONIC_STOSB:
    case ZYDIS_MNEMONIC_STOSW:
    case ZYDIS_MNEMONIC_STOSD:
    case ZYDIS_MNEMONIC_STOSQ: return K::stos;
    case ZYDIS_MNEMONIC_LODSB:
    case ZYDIS_MNEMONIC_LODSW:
    case ZYDIS_MNEMONIC_LODSD:
    case ZYDIS_MNEMONIC_LODSQ: return K::lods;
    case ZYDIS_MNEMONIC_SCASB:
    case ZYDIS_MNEMONIC_SCASW:
    case ZYDIS_MNEMONIC_SCASD:
    case ZYDIS_MNEMONIC_SCASQ: return K::scas;
    case ZYDIS_MNEMONIC_CMPSB:
    case ZYDIS_MNEMONIC_CMPSW:
    case ZYDIS_MNEMONIC_CMPSD:
    case ZYDIS_MNEMONIC_CMPSQ: return K::cmps;
    case ZYDIS_MNEMONIC_INSB:
    case ZYDIS_MNEMONIC_INSW:
    case ZYDIS_MNEMONIC_INSD: return K::ins;
    case ZYDIS_MNEMONIC_OUTSB:
    case ZYDIS_MNEMONIC_OUTSW:
    case ZYDIS_MNEMONIC_OUTSD: return K::outs;
    default: return K::unsupported;
    }
}

bool is_string(OperationKind kind) { return kind >= OperationKind::movs; }

Repeat repeat_prefix(const ZydisDecodedInstruction& instruction) {
    auto repeat = Repeat::none;
    for (unsigned i = 0; i < instruction.raw.prefix_count; ++i) {
        const auto value = instruction.raw.prefixes[i].value;
        if (value == 0xf3) {
            repeat = Repeat::always_or_equal;
        } else if (value == 0xf2) {
            repeat = Repeat::not_equal;
        }
    }
    return repeat;
}

/// Legacy encodings of one, two and three opcode bytes; MOVSD and CMPSD are vector instructions as well.
bool is_general(const ZydisDecodedInstruction& instruction) {
    return instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
           (instruction.meta.isa_ext == ZYDIS_ISA_EXT_BASE ||
            instruction.meta.isa_ext == ZYDIS_ISA_EXT_LONGMODE ||
            instruction.mnemonic == ZYDIS_MNEMONIC_MOVBE);
}

bool reduce_address(const ZydisDecodedInstruction& instruction,
                    const ZydisDecodedOperandMem& memory, Operation& operation) {
    operation.address_width = static_cast<std::uint8_t>(instruction.address_width / 8);
    operation.base = address_register(memory.base);
    operation.index = address_register(memory.index);
    if (memory.type != ZYDIS_MEMOP_TYPE_MEM ||
        (memory.base != ZYDIS_REGISTER_NONE && operation.base == Operation::no_register) ||
        (memory.index != ZYDIS_REGISTER_NONE && operation.index == Operation::no_register) ||
        memory.segment < ZYDIS_REGISTER_ES || memory.segment > ZYDIS_REGISTER_GS) {
        return false;
    }
    operation.scale = memory.scale;
    operation.displacement = memory.disp.has_displacement ? memory.disp.value : 0;
    operation.segment = static_cast<std::uint8_t>(memory.segment - ZYDIS_REGISTER_ES);
    return true;
}

bool reduce_string(const ZydisDecodedInstruction& instruction, const ZydisDecodedOperand* operands,
                   Operation& operation) {
    operation.repeat = repeat_prefix(instruction);
    operation.address_width = static_cast<std::uint8_t>(instruction.address_width / 8);
    operation.segment = 3;
    operation.base = operation.index = Operation::no_register;
    for (unsigned i = 0; i < instruction.operand_count; ++i) {
        const auto& operand = operands[i];
        if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY) {
            continue;
        }
        operation.width = static_cast<std::uint8_t>(operand.size / 8);
        // The operand at rDI is always in ES; only the one at rSI has a segment to choose.
        if (address_register(operand.mem.base) == 6) {
            operation.segment = static_cast<std::uint8_t>(operand.mem.segment - ZYDIS_REGISTER_ES);
        }
    }
    operation.target_width = operation.width;
    return operation.segment < 6;
}

/// Fill everything but kind and length. False: a form that is not emulated.
bool reduce(const ZydisDecodedInstruction& instruction, const ZydisDecodedOperand* operands,
            Operation& operation) {
    const auto count = instruction.operand_count_visible;
    if (count == 0 || count > 2) {
        return false;
    }
    const bool first = operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY;
    const bool second = count == 2 && operands[1].type == ZYDIS_OPERAND_TYPE_MEMORY;
    if (first == second) {
        return false;
    }
    const auto& memory = operands[first ? 0 : 1];
    if (!reduce_address(instruction, memory.mem, operation)) {
        return false;
    }
    operation.memory_is_target = first;
    operation.width = static_cast<std::uint8_t>(memory.size / 8);
    operation.target_width = operation.width;
    operation.byte_swap = instruction.mnemonic == ZYDIS_MNEMONIC_MOVBE;
    operation.condition = instruction.opcode & 15;
    operation.other = OtherOperand::none;
    if (count == 2) {
        const auto& other = operands[first ? 1 : 0];
        if (other.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
            operation.other = OtherOperand::immediate;
            operation.immediate = other.imm.value.s;
        } else {
            if (other.type != ZYDIS_OPERAND_TYPE_REGISTER) {
                return false;
            }
            if (first && instruction.mnemonic == ZYDIS_MNEMONIC_MOV &&
                other.reg.value >= ZYDIS_REGISTER_ES && other.reg.value <= ZYDIS_REGISTER_GS) {
                operation.kind = OperationKind::store_segment;
                operation.other_register =
                    static_cast<std::uint8_t>(other.reg.value - ZYDIS_REGISTER_ES);
                return operation.width == 2;
            }
            const auto found = general_register(other.reg.value);
            if (!found) {
                return false;
            }
            operation.other = OtherOperand::gpr;
            operation.other_register = found->index;
            operation.other_is_high_byte = found->high_byte;
            operation.target_width = static_cast<std::uint8_t>(other.size / 8);
        }
    }
    return operation.width == 1 || operation.width == 2 || operation.width == 4 ||
           operation.width == 8;
}

}  // namespace

DecodeStatus decode(std::span<const std::byte> bytes, CodeSize code,
                    Operation& operation) noexcept {
    ZydisDecoder decoder;
    switch (code) {
    case CodeSize::bits16:
        ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
        break;
    case CodeSize::bits32:
        ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
        break;
    case CodeSize::bits64:
        ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        break;
    }
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    const auto status =
        ZydisDecoderDecodeFull(&decoder, bytes.data(), bytes.size(), &instruction, operands);
    if (!ZYAN_SUCCESS(status)) {
        return status == ZYDIS_STATUS_NO_MORE_DATA && bytes.size() < 15 ? DecodeStatus::incomplete
                                                                        : DecodeStatus::invalid;
    }
    operation = {};
    operation.length = instruction.length;
    if (!is_general(instruction)) {
        return DecodeStatus::ok;
    }
    const auto kind = kind_of(instruction.mnemonic);
    if (kind != OperationKind::unsupported &&
        (is_string(kind) ? reduce_string(instruction, operands, operation)
                         : reduce(instruction, operands, operation))) {
        if (operation.kind == OperationKind::unsupported) {
            operation.kind = kind;
        }
        operation.address_mask = width_mask(operation.address_width);
        operation.width_mask = width_mask(operation.width);
        // XCHG may name memory second.
        operation.memory_is_written = kind == OperationKind::exchange ||
                                      (operation.memory_is_target && can_write(operation.kind));
        operation.is_simple_move =
            operation.kind == OperationKind::mov && operation.width >= 4 && !operation.byte_swap;
    }
    return DecodeStatus::ok;
}

}  // namespace margay::vmm
