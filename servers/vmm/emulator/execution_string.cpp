// String instructions: MOVS, STOS, LODS, SCAS, CMPS, INS, OUTS with and without REP.
#include "servers/vmm/emulator/execution.hpp"

namespace margay::vmm {

namespace {

constexpr unsigned es_index = 0;
/// What one exit may move: long enough to make the exit's cost vanish, short enough that an interrupt waits
/// no longer than for a slow device access.
constexpr unsigned bytes_per_exit = 4096;

constexpr bool uses_source(OperationKind kind) {
    using K = OperationKind;
    return kind == K::movs || kind == K::lods || kind == K::cmps || kind == K::outs;
}
constexpr bool uses_target(OperationKind kind) {
    using K = OperationKind;
    return kind == K::movs || kind == K::stos || kind == K::scas || kind == K::cmps ||
           kind == K::ins;
}

constexpr bool touches_bus(const MemoryOperand& operand) {
    return operand.first.ram == nullptr ||
           (operand.second.bytes != 0 && operand.second.ram == nullptr);
}

}  // namespace

void Execution::port_string(const Operation& operation, std::uint16_t port) noexcept {
    address_seen_ = true;
    string(operation, port);
}

void Execution::string(const Operation& operation, std::uint16_t port) noexcept {
    const std::uint64_t count_mask = operation.address_mask;
    const bool repeated = operation.repeat != Repeat::none;
    unsigned budget = bytes_per_exit / operation.width;
    bool last = !repeated;
    if (repeated && (s_.gpr[gpr_rcx] & count_mask) == 0) {
        retire(operation);
        return;
    }
    for (bool begun = false;; begun = true) {
        if (!string_step(operation, port, begun, last)) {
            // What was done so far stays done; a fault belongs to this iteration. What cannot be emulated
            // comes again as an exit of its own.
            if (begun && result_.outcome == Emulation::unhandled) {
                result_.outcome = Emulation::partial;
            }
            return;
        }
        if (last) {
            retire(operation);
            return;
        }
        if (--budget == 0) {
            result_.outcome = Emulation::partial;
            return;
        }
    }
}

/// One iteration, registers included. `last` is set when none follows.
///
/// An exit whose handler dies is handled again from its first iteration: devices are rolled back, RAM is
/// not. So RAM that was written must not be read again. That holds as long as the device is on the same side
/// all the time: then the exit either reads RAM or writes it. An iteration of another shape ends the exit;
/// one with RAM on both sides is the processor's own business.
bool Execution::string_step(const Operation& operation, std::uint16_t port, bool begun,
                            bool& last) noexcept {
    using K = OperationKind;
    const K kind = operation.kind;
    const unsigned width = operation.width;
    const unsigned address_width = operation.address_width;
    const std::uint64_t mask = operation.address_mask;
    const bool from = uses_source(kind), to = uses_target(kind);
    MemoryOperand source{}, target{};
    if ((from &&
         !operand_at(operation.segment, s_.gpr[gpr_rsi] & mask, width, AccessKind::read, source)) ||
        (to &&
         !operand_at(es_index, s_.gpr[gpr_rdi] & mask, width,
                     kind == K::scas || kind == K::cmps ? AccessKind::read : AccessKind::write,
                     target)) ||
        !check_address()) {
        return false;
    }
    address_seen_ = true;
    const unsigned sides = (from && touches_bus(source) ? 1U : 0U) |
                           (to && touches_bus(target) ? 2U : 0U) |
                           (kind == K::ins || kind == K::outs ? 4U : 0U);
    if (begun && (sides != device_sides_ || sides == 0)) [[unlikely]] {
        result_.outcome = Emulation::partial;
        return false;
    }
    device_sides_ = sides;
    bool compares = false;
    switch (kind) {
    case K::movs: store(target, load(source)); break;
    case K::stos: store(target, s_.gpr[gpr_rax] & operation.width_mask); break;
    case K::lods: write_register(gpr_rax, false, width, load(source)); break;
    case K::ins: store(target, bus_.port_read(port, width) & operation.width_mask); break;
    case K::outs: bus_.port_write(port, width, static_cast<std::uint32_t>(load(source))); break;
    default: {
        compares = true;
        const std::uint64_t a =
            kind == K::cmps ? load(source) : s_.gpr[gpr_rax] & operation.width_mask;
        write_flags(compute(K::cmp, a, load(target), width, s_.rflags).rflags);
        break;
    }
    }
    const std::uint64_t step =
        (s_.rflags & rflags::df) != 0 ? ~std::uint64_t{0} * width : std::uint64_t{width};
    if (from) {
        write_register(gpr_rsi, false, address_width, s_.gpr[gpr_rsi] + step);
    }
    if (to) {
        write_register(gpr_rdi, false, address_width, s_.gpr[gpr_rdi] + step);
    }
    if (operation.repeat != Repeat::none) {
        write_register(gpr_rcx, false, address_width, s_.gpr[gpr_rcx] - 1);
        const bool equal = (s_.rflags & rflags::zf) != 0;
        last = (s_.gpr[gpr_rcx] & mask) == 0 ||
               (compares && equal != (operation.repeat == Repeat::always_or_equal));
    }
    return true;
}

}  // namespace margay::vmm
