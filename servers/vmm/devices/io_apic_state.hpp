#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

/// At most; a VM of an older build has all of them.
inline constexpr unsigned io_apic_pins = 24;
/// What devices on the board are wired to. Guests go over all pins of an I/O APIC many times when they start, some
/// twenty exits for each.
inline constexpr unsigned isa_pins = 16;

struct IoApicState {
    std::uint64_t redirection[io_apic_pins];
    std::uint32_t levels;    ///< inputs as they are now
    std::uint32_t requests;  ///< edges latched while masked, and asserted level inputs
    std::uint8_t index;      ///< IOREGSEL
    std::uint8_t id;         ///< 0..15
    std::uint8_t pins;       ///< 0: io_apic_pins
    std::uint8_t reserved[5];
};

MARGAY_STATE(IoApicState, "io_apic", 1, 1, section_flag::critical, redirection, levels, requests,
             index, id, pins, reserved);

}  // namespace margay::vmm
