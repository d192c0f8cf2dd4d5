// What instructions do with their operands.
#include "servers/vmm/emulator/execution.hpp"

namespace margay::vmm {

namespace {

constexpr unsigned rsp_index = gpr_rsp;

std::uint64_t swap_bytes(std::uint64_t value, unsigned width) {
    return __builtin_bswap64(value) >> (64 - 8 * width);
}

}  // namespace

void inject_exception(VcpuState& s, EmulationResult& result, std::uint8_t vector,
                      std::uint32_t error_code) noexcept {
    s.event = event_injection::valid | event_injection::type_exception | vector;
    if ((s.cr0 & 1) != 0) {  // in real mode no exception has an error code
        s.event |= event_injection::has_error | static_cast<std::uint64_t>(error_code)
                                                    << event_injection::error_shift;
    }
    result.outcome = Emulation::exception;
    result.vector = vector;
    result.error_code = error_code;
    result.dirty |= state::event;
}

void inject_page_fault(VcpuState& s, EmulationResult& result, std::uint32_t error_code,
                       std::uint64_t address) noexcept {
    inject_exception(s, result, 14, error_code);
    s.cr2 = address;
    result.address = address;
    result.dirty |= state::control;
}

bool Execution::raise(std::uint8_t vector, std::uint32_t error_code) noexcept {
    inject_exception(s_, result_, vector, error_code);
    return false;
}

bool Execution::give_up(const char* reason) noexcept {
    result_.outcome = Emulation::unhandled;
    result_.reason = reason;
    return false;
}

/// AMD APM vol. 1 §3.1.2: a 32-bit result is zero-extended, narrower ones leave the rest.
void Execution::write_register(unsigned index, bool high_byte, unsigned width,
                               std::uint64_t value) noexcept {
    std::uint64_t& target = s_.gpr[index & 15];
    switch (width) {
    case 1: {
        const unsigned shift = high_byte ? 8 : 0;
        target = (target & ~(std::uint64_t{0xff} << shift)) | (value & 0xff) << shift;
        break;
    }
    case 2: target = (target & ~std::uint64_t{0xffff}) | (value & 0xffff); break;
    case 4: target = value & 0xffff'ffff; break;
    default: target = value; break;
    }
    const unsigned group = (index & 15) >> 2;
    result_.dirty |= state::gpr_low << (group < 2 ? group : 2U);
}

void Execution::retire_with_flags() noexcept {
    result_.single_step = (s_.rflags & rflags::tf) != 0;
    if ((s_.rflags & rflags::rf) != 0) {
        write_flags(s_.rflags & ~rflags::rf);
    }
}

void Execution::mmio(const Operation& operation, std::uint64_t gpa) noexcept {
    exit_gpa_ = gpa;
    if (operation.kind == OperationKind::mov) [[likely]] {
        move(operation);
    } else if (operation.kind >= OperationKind::movs) {
        if (operation.kind >= OperationKind::ins) {
            // The port permission check and the port exit come before any memory access.
            give_up("a string port instruction in an MMIO exit");
            return;
        }
        string(operation, 0);
    } else {
        one(operation);
    }
}

/// By far the most frequent: how drivers access devices.
void Execution::move(const Operation& operation) noexcept {
    const unsigned width = operation.width;
    MemoryOperand operand;
    if (!operand_at(operation.segment, offset_of(s_, operation), width,
                    operation.memory_is_written ? AccessKind::write : AccessKind::read, operand) ||
        !check_address()) {
        return;
    }
    if (operation.memory_is_target) {
        const std::uint64_t value = read_other(s_, operation);
        store(operand, operation.byte_swap ? swap_bytes(value, width) : value);
    } else {
        const std::uint64_t value = load(operand);
        write_register(operation.other_register, operation.other_is_high_byte, width,
                       operation.byte_swap ? swap_bytes(value, width) : value);
    }
    retire(operation);
}

void Execution::one(const Operation& operation) noexcept {
    using K = OperationKind;
    const unsigned width = operation.width;
    if (operation.kind == K::push || operation.kind == K::pop) {
        if (operation.kind == K::push ? push(operation) : pop(operation)) {
            retire(operation);
        }
        return;
    }
    const bool is_bit = operation.kind >= K::bit_test && operation.kind <= K::bit_complement;
    std::uint64_t offset = offset_of(s_, operation);
    std::uint64_t other = 0;
    if (operation.other != OtherOperand::none) {
        other = read_other(s_, operation);
    }
    if (is_bit && operation.other == OtherOperand::gpr) {
        // The register is a signed bit offset from the operand's address.
        const auto bit = static_cast<std::int64_t>(sign_extend(other, width));
        const unsigned shift = static_cast<unsigned>(__builtin_ctz(width)) + 3;
        offset += static_cast<std::uint64_t>(bit >> shift) * width;
        offset &= operation.address_mask;
    }
    MemoryOperand operand;
    if (!operand_at(operation.segment, offset, width,
                    operation.memory_is_written ? AccessKind::write : AccessKind::read, operand) ||
        !check_address()) {
        return;
    }
    switch (operation.kind) {
    case K::move_zero_extend:
        write_register(operation.other_register, false, operation.target_width, load(operand));
        break;
    case K::move_sign_extend:
        write_register(operation.other_register, false, operation.target_width,
                       sign_extend(load(operand), width));
        break;
    case K::cmp:
    case K::test: {
        const std::uint64_t value = load(operand);
        const bool first = operation.memory_is_target;
        write_flags(
            compute(operation.kind, first ? value : other, first ? other : value, width, s_.rflags)
                .rflags);
        break;
    }
    case K::add:
    case K::adc:
    case K::sub:
    case K::sbb:
    case K::and_:
    case K::or_:
    case K::xor_: {
        const std::uint64_t value = load(operand);
        const bool first = operation.memory_is_target;
        const auto result =
            compute(operation.kind, first ? value : other, first ? other : value, width, s_.rflags);
        if (first) {
            store(operand, result.value);
        } else {
            write_register(operation.other_register, operation.other_is_high_byte, width,
                           result.value);
        }
        write_flags(result.rflags);
        break;
    }
    case K::inc:
    case K::dec: {
        const auto result = compute(operation.kind, load(operand), 1, width, s_.rflags);
        store(operand, result.value);
        write_flags(result.rflags);
        break;
    }
    case K::neg: {
        const auto result = compute(K::neg, 0, load(operand), width, s_.rflags);
        store(operand, result.value);
        write_flags(result.rflags);
        break;
    }
    case K::not_: store(operand, ~load(operand) & width_mask(width)); break;
    case K::exchange: {
        const std::uint64_t value = load(operand);
        store(operand, other);
        write_register(operation.other_register, operation.other_is_high_byte, width, value);
        break;
    }
    case K::exchange_add: {
        const std::uint64_t value = load(operand);
        const auto result = compute(K::exchange_add, value, other, width, s_.rflags);
        store(operand, result.value);
        write_register(operation.other_register, operation.other_is_high_byte, width, value);
        write_flags(result.rflags);
        break;
    }
    case K::compare_exchange: {
        const std::uint64_t value = load(operand);
        const auto result =
            compute(K::cmp, s_.gpr[gpr_rax] & width_mask(width), value, width, s_.rflags);
        if ((result.rflags & rflags::zf) != 0) {
            store(operand, other);
        } else {
            // The processor writes the old value back; no device wants that second write.
            write_register(gpr_rax, false, width, value);
        }
        write_flags(result.rflags);
        break;
    }
    case K::bit_test:
    case K::bit_set:
    case K::bit_reset:
    case K::bit_complement: {
        const std::uint64_t value = load(operand);
        const std::uint64_t bit = std::uint64_t{1} << (other & (8 * width - 1));
        if (operation.kind != K::bit_test) {
            store(operand, operation.kind == K::bit_set     ? value | bit
                           : operation.kind == K::bit_reset ? value & ~bit
                                                            : value ^ bit);
        }
        write_flags((s_.rflags & ~rflags::cf) | ((value & bit) != 0 ? rflags::cf : 0));
        break;
    }
    case K::set_condition:
        store(operand, condition_holds(operation.condition, s_.rflags) ? 1 : 0);
        break;
    case K::store_machine_status: store(operand, s_.cr0 & 0xffff); break;
    case K::store_segment: {
        const SegmentState* const segments[] = {&s_.es, &s_.cs, &s_.ss, &s_.ds, &s_.fs, &s_.gs};
        store(operand, segments[operation.other_register]->selector);
        break;
    }
    case K::move_condition: {
        // Memory is read in any case, and a 32-bit register loses its upper half in any case.
        const std::uint64_t value = load(operand);
        const bool holds = condition_holds(operation.condition, s_.rflags);
        write_register(operation.other_register, false, width,
                       holds ? value : s_.gpr[operation.other_register & 15] & width_mask(width));
        break;
    }
    default: give_up("an instruction that is not emulated"); return;
    }
    retire(operation);
}

bool Execution::push(const Operation& operation) noexcept {
    constexpr unsigned ss_index = 2;
    const unsigned address_width = stack_width();
    const std::uint64_t top = (s_.gpr[rsp_index] - operation.width) & width_mask(address_width);
    MemoryOperand from, to;
    if (!operand_at(operation.segment, offset_of(s_, operation), operation.width, AccessKind::read,
                    from) ||
        !operand_at(ss_index, top, operation.width, AccessKind::write, to) || !check_address()) {
        return false;
    }
    store(to, load(from));
    write_register(rsp_index, false, address_width, top);
    return true;
}

bool Execution::pop(const Operation& operation) noexcept {
    constexpr unsigned ss_index = 2;
    const unsigned address_width = stack_width();
    const std::uint64_t old = s_.gpr[rsp_index];
    const auto old_dirty = result_.dirty;
    MemoryOperand from, to;
    if (!operand_at(ss_index, old & width_mask(address_width), operation.width, AccessKind::read,
                    from)) {
        return false;
    }
    // The target's address is computed with the incremented stack pointer.
    write_register(rsp_index, false, address_width, old + operation.width);
    if (!operand_at(operation.segment, offset_of(s_, operation), operation.width, AccessKind::write,
                    to) ||
        !check_address()) {
        s_.gpr[rsp_index] = old;
        result_.dirty = old_dirty | (result_.dirty & ~state::gpr_mid);
        return false;
    }
    store(to, load(from));
    return true;
}

}  // namespace margay::vmm
