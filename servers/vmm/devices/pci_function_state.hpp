#pragma once

#include "proto/guest_function.hpp"
#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

/// What the guest has set in the configuration space of a function that it was given.
struct PciFunctionState {
    std::uint32_t bar[pci_bars];  ///< addresses as the guest wrote them, without their flags
    std::uint32_t resets;         ///< how often the guest has reset it
    std::uint16_t command;
    std::uint16_t msix_control;  ///< bits 15 and 14 only
    std::uint16_t device_control;
    std::uint8_t power;  ///< 0: D0, 3: D3hot
    std::uint8_t interrupt_line;
    std::uint8_t line_fired;  ///< 1: its interrupt line was asserted, and is not acknowledged
    std::uint8_t reserved[11];
};

/// Its MSI capability likewise.
struct MsiState {
    std::uint64_t address;
    std::uint16_t masked;   ///< bit i: message i
    std::uint16_t pending;  ///< likewise: it came while it was masked
    std::uint16_t data;
    std::uint8_t is_on;
    std::uint8_t log_messages;  ///< Multiple Message Enable
};
static_assert(max_msi_messages <= 16);

struct PciFunctionsState {
    PciFunctionState function[max_guest_functions];
    MsiState msi[max_guest_functions];
};

// There only where the VM has functions: see vm_layout().
MARGAY_STATE(PciFunctionsState, "pci_functions", 2, 2, section_flag::critical, function, msi);

}  // namespace margay::vmm
