#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

inline constexpr unsigned io_apic_pins = 24;

struct IoApicState {
    std::uint64_t redirection[io_apic_pins];
    std::uint32_t levels;    ///< inputs as they are now
    std::uint32_t requests;  ///< edges latched while masked, and asserted level inputs
    std::uint8_t index;      ///< IOREGSEL
    std::uint8_t id;         ///< 0..15
    std::uint8_t reserved[6];
};

MARGAY_STATE(IoApicState, "io_apic", 1, 1, section_flag::critical, redirection, levels, requests,
             index, id, reserved);

}  // namespace margay::vmm
