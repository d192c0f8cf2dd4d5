#pragma once

#include <cstdint>

namespace margay::vmm {

struct PciHostState {
    std::uint32_t address;  ///< CONFIG_ADDRESS, port 0xcf8
    std::uint16_t command;  ///< of 00:00.0
    std::uint8_t interrupt_line;
    std::uint8_t reserved;
};

}  // namespace margay::vmm
