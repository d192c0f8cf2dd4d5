#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

struct PciHostState {
    std::uint32_t address;  ///< CONFIG_ADDRESS, port 0xcf8
    std::uint16_t command;  ///< of 00:00.0
    std::uint8_t interrupt_line;
    std::uint8_t reserved;
};

MARGAY_STATE(PciHostState, "pci_host", 1, 1, section_flag::critical, address, command,
             interrupt_line, reserved);

}  // namespace margay::vmm
