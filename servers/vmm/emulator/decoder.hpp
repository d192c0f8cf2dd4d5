#pragma once

#include "servers/vmm/emulator/cpu_mode.hpp"
#include "servers/vmm/emulator/operation.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace margay::vmm {

enum class DecodeStatus : std::uint8_t {
    ok,
    incomplete,  ///< more bytes are needed
    invalid,     ///< no instruction: the processor would raise #UD
};

/// Decode one instruction with Zydis: several thousand executed instructions. With status ok, `operation` has
/// its length, and kind `unsupported` if it is none that is emulated.
[[nodiscard]] DecodeStatus decode(std::span<const std::byte> bytes, CodeSize code,
                                  Operation& operation) noexcept;

}  // namespace margay::vmm
