#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

/// What the guest has set in the configuration space of a function that it was given.
struct PciFunctionState {
    std::uint32_t bar[6];  ///< addresses as the guest wrote them, without their flags
    std::uint32_t msi_address, msi_address_high, msi_mask;
    std::uint16_t command;
    std::uint16_t msi_control, msi_data;
    std::uint16_t msix_control;  ///< bits 15 and 14 only
    std::uint16_t device_control;
    std::uint16_t link_control;
    std::uint8_t power;  ///< 0: D0, 3: D3hot
    std::uint8_t interrupt_line;
    std::uint8_t reserved[6];
};

MARGAY_STATE(PciFunctionState, "pci_function", 1, 1, section_flag::critical, bar, msi_address,
             msi_address_high, msi_mask, command, msi_control, msi_data, msix_control,
             device_control, link_control, power, interrupt_line, reserved);

}  // namespace margay::vmm
