#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

struct AcpiPmState {
    std::uint64_t deadline_ns;    ///< next wrap of the timer that interrupts, or no_deadline
    std::uint64_t handled_ticks;  ///< timer wraps up to here are in `status`
    std::uint16_t status;         ///< PM1_STS
    std::uint16_t enable;         ///< PM1_EN
    std::uint16_t control;        ///< PM1_CNT; SCI_EN always set
    std::uint8_t reset_control;   ///< port 0xcf9
    std::uint8_t fast_a20;        ///< port 0x92
    std::uint8_t line;            ///< SCI as driven
    std::uint8_t reserved[3];
    std::uint32_t presses;  ///< of the power button that `status` knows of
};

MARGAY_STATE(AcpiPmState, "acpi_pm", 2, 1, section_flag::critical, deadline_ns, handled_ticks,
             status, enable, control, reset_control, fast_a20, line, reserved, presses);

}  // namespace margay::vmm
