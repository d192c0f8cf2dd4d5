#pragma once

#include "servers/vmm/emulator/cpu_mode.hpp"
#include "servers/vmm/emulator/operation.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace margay::vmm {

/// Decoded instructions of one vCPU by address, code size and bytes: a hit compares all bytes of the
/// instruction with those in guest memory now, so self-modifying code, changed page tables and other
/// address spaces cannot give a wrong operation.
class DecodeCache {
  public:
    /// The operation remembered for this instruction, or nullptr. `bytes`: 16 bytes of code at `rip`; those
    /// behind the instruction do not matter.
    [[nodiscard]] const Operation* find(std::uint64_t rip, CodeSize code,
                                        const std::byte* bytes) const noexcept {
        const Line& line = line_[slot(rip)];
        std::uint64_t low, high;
        __builtin_memcpy(&low, bytes, 8);  // two loads, also in a freestanding program
        __builtin_memcpy(&high, bytes + 8, 8);
        if (line.rip != rip || line.code != code || ((low ^ line.low) & line.low_mask) != 0 ||
            ((high ^ line.high) & line.high_mask) != 0) {
            return nullptr;
        }
        return &line.operation;
    }

    /// Remember an operation decoded from these (16) bytes.
    const Operation* insert(std::uint64_t rip, CodeSize code, const std::byte* bytes,
                            const Operation& operation) noexcept {
        Line& line = line_[slot(rip)];
        line.rip = rip;
        std::memcpy(&line.low, bytes, 8);
        std::memcpy(&line.high, bytes + 8, 8);
        const unsigned low = operation.length < 8 ? operation.length : 8U;
        line.low_mask = low_bytes(low);
        line.high_mask = low_bytes(operation.length - low);
        line.code = code;
        line.operation = operation;
        return &line.operation;
    }

  private:
    static constexpr unsigned lines = 64;

    struct Line {
        std::uint64_t rip;
        std::uint64_t low, high;  // the bytes, and which of them count
        std::uint64_t low_mask, high_mask;
        CodeSize code;  // none of its values in an unused line
        Operation operation;
    };

    static unsigned slot(std::uint64_t rip) noexcept {
        return static_cast<unsigned>((rip ^ (rip >> 6) ^ (rip >> 12)) % lines);
    }
    static std::uint64_t low_bytes(unsigned count) noexcept {
        return count == 0 ? 0 : ~std::uint64_t{0} >> (64 - 8 * count);
    }

    Line line_[lines] = {};
};

}  // namespace margay::vmm
