#include "servers/vmm/emulator/emulator.hpp"

#include "servers/vmm/cpu/exception_vector.hpp"
#include "servers/vmm/emulator/decoder.hpp"
#include "servers/vmm/emulator/execution.hpp"
#include "servers/vmm/emulator/operands.hpp"

#include <algorithm>

namespace margay::vmm {

namespace {

/// All fields that are read whatever the outcome.
void start(EmulationResult& result) {
    result.outcome = Emulation::done;
    result.single_step = false;
    result.vector = 0;
    result.code_length = 0;
    result.error_code = 0;
    result.dirty = 0;
    result.address = 0;
    result.reason = nullptr;
}

}  // namespace

[[gnu::always_inline]] inline const Operation*
Emulator::operation_at(VcpuState& s, const CpuMode& mode, EmulationResult& result) noexcept {
    const std::uint64_t linear = code_address(s, mode);
    const auto* const code = code_window(walks_, s, mode, linear);
    if (code != nullptr) [[likely]] {
        const auto* const known = operations_.find(s.rip, mode.code, code);
        if (known != nullptr) [[likely]] {
            return known;
        }
    }
    return decode_at(s, mode, result);
}

[[gnu::noinline]] const Operation* Emulator::decode_at(VcpuState& s, const CpuMode& mode,
                                                       EmulationResult& result) noexcept {
    const auto fetched = fetch_instruction(memory_, walks_, s, mode);
    if (const auto* const known = operations_.find(s.rip, mode.code, fetched.bytes);
        known != nullptr && known->length <= fetched.count) {
        return known;
    }
    Operation operation;
    switch (decode({fetched.bytes, fetched.count}, mode.code, operation)) {
    case DecodeStatus::ok: return operations_.insert(s.rip, mode.code, fetched.bytes, operation);
    case DecodeStatus::invalid:
        // The processor took it for an instruction, so it is one that the decoder does not know.
        result.outcome = Emulation::not_emulated;
        result.reason = "unknown instruction";
        return nullptr;
    case DecodeStatus::incomplete: break;
    }
    switch (fetched.end) {
    case FetchedBytes::End::page_fault:
        inject_page_fault(s, result, fetched.error_code, fetched.address);
        break;
    case FetchedBytes::End::not_canonical:
    case FetchedBytes::End::limit:
        inject_exception(s, result, exception_vector::general_protection, 0);
        break;
    case FetchedBytes::End::complete:
    case FetchedBytes::End::no_memory:
        result.outcome = Emulation::not_emulated;
        result.reason = "an instruction that does not lie in RAM";
        break;
    }
    return nullptr;
}

void Emulator::finish(const VcpuState& s, EmulationResult& result) noexcept {
    if (result.outcome == Emulation::retry) {
        if (++retries_ <= most_retries) {
            return;
        }
        result.outcome = Emulation::unhandled;
        result.reason = "the guest's page tables do not lead to the address of the exit";
    }
    retries_ = 0;
    if (result.outcome >= Emulation::not_emulated) {
        result.code_length = static_cast<std::uint8_t>(
            read_guest_code(memory_, s, {result.code, longest_instruction}));
    }
}

/// Between a register of 4 or 8 bytes and one page of devices, in 64-bit code: how drivers access them. False: this
/// is something else, and nothing was done.
[[gnu::always_inline]] inline bool Emulator::move_simply(VcpuState& s, const CpuMode& mode,
                                                         const Operation& operation,
                                                         std::uint64_t gpa,
                                                         EmulationResult& result) noexcept {
    if (!operation.is_simple_move || !mode.is_64bit() ||
        (s.rflags & (rflags::rf | rflags::tf)) != 0) [[unlikely]] {
        return false;
    }
    const bool writes = operation.memory_is_target;
    // A remembered page was canonical, so this address is.
    const std::uint64_t linear = linear_64bit(s, operation.segment, offset_of(s, operation));
    const auto* const page =
        walks_.find(mode, s.cr3, linear, writes ? AccessKind::write : AccessKind::read);
    // The exit must be this operand's: then it lies in the page, and the operand is nothing else.
    if (page == nullptr || page->ram != nullptr || page->gpa + (linear & 0xfff) != gpa ||
        (linear & 0xfff) + operation.width > 0x1000) [[unlikely]] {
        return false;
    }
    if (writes) {
        bus_.mmio_write(gpa, operation.width, read_other(s, operation));
    } else {
        const std::uint64_t value = bus_.mmio_read(gpa, operation.width);
        const unsigned target = operation.other_register & 15;
        s.gpr[target] = value & operation.width_mask;
        result.dirty = state::gpr_low << std::min(target >> 2, 2U);
    }
    s.rip += operation.length;
    result.dirty |= state::rip;
    return true;
}

EmulationResult Emulator::mmio(VcpuState& s, std::uint64_t gpa, std::uint64_t access) noexcept {
    EmulationResult result;
    start(result);
    // Where nothing is there are ones, which are no instruction.
    if ((access & (mmio_access::fetch | mmio_access::page_walk)) != 0) [[unlikely]] {
        const bool fetch = (access & mmio_access::fetch) != 0;
        result.outcome = fetch ? Emulation::not_emulated : Emulation::unhandled;
        result.reason =
            fetch ? "code that is not in RAM" : "a page table of the guest is not in RAM";
        finish(s, result);
        return result;
    }
    const auto& mode = modes_.of(s);
    if (const auto* const operation = operation_at(s, mode, result); operation != nullptr) {
        if (operation->kind == OperationKind::unsupported) [[unlikely]] {
            result.outcome = Emulation::not_emulated;
            result.reason = "an instruction that is not emulated for devices";
        } else if (!move_simply(s, mode, *operation, gpa, result)) {
            Execution{s, mode, memory_, walks_, bus_, result}.mmio(*operation, gpa);
        }
    }
    if (result.outcome >= Emulation::retry || retries_ != 0) [[unlikely]] {
        finish(s, result);
    }
    return result;
}

EmulationResult Emulator::port_string(VcpuState& s, std::uint64_t access) noexcept {
    EmulationResult result;
    start(result);
    const auto& mode = modes_.of(s);
    if (const auto* const operation = operation_at(s, mode, result); operation != nullptr) {
        const auto kind =
            (access & port_access::in) != 0 ? OperationKind::ins : OperationKind::outs;
        const auto port = static_cast<std::uint16_t>(access & port_access::port_mask);
        if (operation->kind != kind ||
            operation->width != ((access >> port_access::width_shift) & 7) ||
            port != static_cast<std::uint16_t>(s.gpr[gpr_rdx])) [[unlikely]] {
            result.outcome = Emulation::retry;
        } else {
            Execution{s, mode, memory_, walks_, bus_, result}.port_string(*operation, port);
        }
    }
    finish(s, result);
    return result;
}

}  // namespace margay::vmm
