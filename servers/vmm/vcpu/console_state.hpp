#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

/// How far the guest's console has come, in bytes since the rings were made, modulo 2^32 as their indices.
struct ConsoleState {
    std::uint32_t output;  ///< position of the next byte that the guest sends
    std::uint32_t input;   ///< position of the next byte that the UART takes
};

MARGAY_STATE(ConsoleState, "console", 1, 1, section_flag::critical, output, input);

}  // namespace margay::vmm
