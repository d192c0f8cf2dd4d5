#pragma once

#include "servers/vmm/emulator/arithmetic.hpp"
#include "servers/vmm/emulator/bus.hpp"
#include "servers/vmm/emulator/emulation_result.hpp"
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
    void one(const Operation& operation) noexcept;
    void string(const Operation& operation, std::uint16_t port) noexcept;
    bool string_step(const Operation& operation, std::uint16_t port, bool& last) noexcept;
    bool push(const Operation& operation) noexcept;
    bool pop(const Operation& operation) noexcept;

    // Registers.
    [[nodiscard]] std::uint64_t read_other(const Operation& operation,
                                           unsigned width) const noexcept;
    void write_register(unsigned index, bool high_byte, unsigned width,
                        std::uint64_t value) noexcept;
    void write_flags(std::uint64_t flags) noexcept {
        s_.rflags = flags;
        result_.dirty |= state::rflags;
    }
    void retire(const Operation& operation) noexcept;

    // Memory.
    [[nodiscard]] std::uint64_t offset_of(const Operation& operation) const noexcept;
    bool operand_at(unsigned segment, std::uint64_t offset, unsigned width, AccessKind kind,
                    MemoryOperand& operand) noexcept;
    bool to_linear(unsigned segment, std::uint64_t offset, unsigned width, AccessKind kind,
                   std::uint64_t& linear) noexcept;
    bool translate_part(std::uint64_t linear, unsigned bytes, AccessKind kind,
                        MemoryOperand::Part& part) noexcept;
    [[nodiscard]] std::uint64_t load(const MemoryOperand& operand) noexcept;
    void store(const MemoryOperand& operand, std::uint64_t value) noexcept;
    [[nodiscard]] std::uint64_t load_part(const MemoryOperand::Part& part) noexcept;
    void store_part(const MemoryOperand::Part& part, std::uint64_t value) noexcept;
    [[nodiscard]] unsigned stack_width() const noexcept;
    bool check_address() noexcept;

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
};

/// Put an exception with an error code (#SS, #GP, #PF) into the state for injection.
void inject_exception(VcpuState& s, EmulationResult& result, std::uint8_t vector,
                      std::uint32_t error_code) noexcept;
void inject_page_fault(VcpuState& s, EmulationResult& result, std::uint32_t error_code,
                       std::uint64_t address) noexcept;

}  // namespace margay::vmm
