#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

/// One 8259A (Intel 8259A data sheet). Bit n of a mask is input n.
struct PicChipState {
    std::uint8_t requests;       ///< IRR
    std::uint8_t mask;           ///< IMR
    std::uint8_t in_service;     ///< ISR
    std::uint8_t levels;         ///< inputs as they are now
    std::uint8_t level_trigger;  ///< ELCR: 1 = level triggered
    std::uint8_t vector_base;    ///< ICW2, low three bits 0
    std::uint8_t lowest;         ///< input with the lowest priority, 0..7; 7 after reset
    std::uint8_t init_step;      ///< 0 operational, else the ICW (2..4) expected next
    std::uint8_t expects_icw4;
    std::uint8_t auto_eoi;
    std::uint8_t rotate_on_auto_eoi;
    std::uint8_t special_mask;
    std::uint8_t special_fully_nested;
    std::uint8_t read_in_service;  ///< OCW3: the command port reads ISR instead of IRR
    std::uint8_t poll;
    std::uint8_t reserved;
};

struct PicState {
    PicChipState chip[2];  ///< master, slave
    std::uint8_t output;   ///< INTR of the master
    std::uint8_t reserved[7];
};

MARGAY_STATE(PicState, "pic", 1, 1, section_flag::critical, chip, output, reserved);

}  // namespace margay::vmm
