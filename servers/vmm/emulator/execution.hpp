#pragma once

#include "servers/vmm/emulator/arithmetic.hpp"
#include "servers/vmm/emulator/bus.hpp"
#include "servers/vmm/emulator/emulation_result.hpp"
#include "servers/vmm/emulator/operands.hpp"
#include "servers/vmm/emulator/operation.hpp"
#include "servers/vmm/emulator/walk_cache.hpp"

#include <cstddef>
#include <cstdint>

namespace margay::vmm {

/// One memory operand after translation: reading and writing it cannot fail any more. An operand across two
/// pages has a second part.
struct MemoryOperand {
    struct Part {
        std::uint64_t gpa;
        std::byte* ram;  ///< nullptr: on the bus
        unsigned bytes;
    };
    Part first;
    Part second;  ///< bytes 0: there is none
};

/// One instruction on its way: registers and memory of the vCPU that executes it.
///
/// All operands are translated before anything is read or written, since reading from a device has effects;
/// what fails then leaves no trace but accessed and dirty bits. Functions that return bool say false when the
/// result has an outcome other than done.
class Execution {
  public:
    Execution(VcpuState& s, const CpuMode& mode, GuestMemory& memory, WalkCache& cache, Bus& bus,
              EmulationResult& result) noexcept
        : s_{s}, mode_{mode}, memory_{memory}, cache_{cache}, bus_{bus}, result_{result} {}

    /// An MMIO exit at `gpa`: one operand of the first iteration must contain that address.
    void mmio(const Operation& operation, std::uint64_t gpa) noexcept;

    /// INS or OUTS.
    void port_string(const Operation& operation, std::uint16_t port) noexcept;

  private:
    void move(const Operation& operation) noexcept;
    void one(const Operation& operation) noexcept;
    void string(const Operation& operation, std::uint16_t port) noexcept;
    bool string_step(const Operation& operation, std::uint16_t port, bool begun,
                     bool& last) noexcept;
    bool push(const Operation& operation) noexcept;
    bool pop(const Operation& operation) noexcept;

    // Registers.
    void write_register(unsigned index, bool high_byte, unsigned width,
                        std::uint64_t value) noexcept;
    void write_flags(std::uint64_t flags) noexcept {
        s_.rflags = flags;
        result_.dirty |= state::rflags;
    }
    void retire(const Operation& operation) noexcept {
        s_.rip = (s_.rip + operation.length) & mode_.ip_mask();
        result_.dirty |= state::rip;
        if ((s_.rflags & (rflags::rf | rflags::tf)) != 0) [[unlikely]] {
            retire_with_flags();
        }
        result_.outcome = Emulation::done;
    }
    void retire_with_flags() noexcept;

    // Memory.
    [[gnu::always_inline]] bool operand_at(unsigned segment, std::uint64_t offset, unsigned width,
                                           AccessKind kind, MemoryOperand& operand) noexcept {
        if (mode_.is_64bit()) [[likely]] {
            // A remembered page was canonical, so this address is.
            const std::uint64_t linear = linear_64bit(s_, segment, offset);
            const std::uint64_t in_page = linear & 0xfff;
            const auto* const page = cache_.find(mode_, s_.cr3, linear, kind);
            if (page != nullptr && in_page + width <= 0x1000) [[likely]] {
                operand.first = {page->gpa + in_page,
                                 page->ram == nullptr ? nullptr : page->ram + in_page, width};
                operand.second.bytes = 0;
                address_seen_ |= exit_gpa_ - operand.first.gpa < width;
                return true;
            }
        }
        return operand_slowly(segment, offset, width, kind, operand);
    }
    bool operand_slowly(unsigned segment, std::uint64_t offset, unsigned width, AccessKind kind,
                        MemoryOperand& operand) noexcept;
    bool to_linear(unsigned segment, std::uint64_t offset, unsigned width, AccessKind kind,
                   std::uint64_t& linear) noexcept;
    bool translate_part(std::uint64_t linear, unsigned bytes, AccessKind kind,
                        MemoryOperand::Part& part) noexcept;
    /// Most operands are one part on the bus.
    [[nodiscard]] static bool is_simple(const MemoryOperand& operand) noexcept {
        return operand.first.ram == nullptr && operand.second.bytes == 0;
    }
    [[nodiscard]] std::uint64_t load(const MemoryOperand& operand) noexcept {
        if (is_simple(operand)) [[likely]] {
            return bus_.mmio_read(operand.first.gpa, operand.first.bytes);
        }
        return load_parts(operand);
    }
    /// Bits of `value` above the operand's width are 0.
    void store(const MemoryOperand& operand, std::uint64_t value) noexcept {
        if (is_simple(operand)) [[likely]] {
            bus_.mmio_write(operand.first.gpa, operand.first.bytes, value);
        } else {
            store_parts(operand, value);
        }
    }
    [[nodiscard]] std::uint64_t load_parts(const MemoryOperand& operand) noexcept;
    void store_parts(const MemoryOperand& operand, std::uint64_t value) noexcept;
    [[nodiscard]] std::uint64_t load_part(const MemoryOperand::Part& part) noexcept;
    void store_part(const MemoryOperand::Part& part, std::uint64_t value) noexcept;
    [[nodiscard]] unsigned stack_width() const noexcept;
    bool check_address() noexcept {
        if (!address_seen_) [[unlikely]] {
            result_.outcome = Emulation::retry;
        }
        return address_seen_;
    }

    bool raise(std::uint8_t vector, std::uint32_t error_code) noexcept;
    bool give_up(const char* reason) noexcept;

    VcpuState& s_;
    const CpuMode& mode_;
    GuestMemory& memory_;
    WalkCache& cache_;
    Bus& bus_;
    EmulationResult& result_;
    std::uint64_t exit_gpa_ = 0;
    bool address_seen_ = false;
    unsigned device_sides_ = 0;  ///< of the string iterations so far: see string_step()
};

/// Put an exception with an error code (#SS, #GP, #PF) into the state for injection.
void inject_exception(VcpuState& s, EmulationResult& result, std::uint8_t vector,
                      std::uint32_t error_code) noexcept;
void inject_page_fault(VcpuState& s, EmulationResult& result, std::uint32_t error_code,
                       std::uint64_t address) noexcept;

}  // namespace margay::vmm
