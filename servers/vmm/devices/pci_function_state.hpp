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
    std::uint8_t reserved[12];
};

struct PciFunctionsState {
    PciFunctionState function[max_guest_functions];
};

// There only where the VM has functions: see vm_layout().
MARGAY_STATE(PciFunctionsState, "pci_functions", 1, 1, section_flag::critical, function);

}  // namespace margay::vmm
