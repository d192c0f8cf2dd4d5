#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

/// MC146818 with 128 bytes of CMOS RAM. The date is not stored: it is the offset from the VM's clock.
struct RtcState {
    std::int64_t offset_s;      ///< Unix time of the RTC minus seconds of the VM's clock
    std::uint64_t deadline_ns;  ///< next periodic, alarm or update event that may interrupt
    std::uint64_t handled_ns;   ///< events up to here are reflected in register C
    std::uint8_t index;         ///< selected register, 0..127
    std::uint8_t line;          ///< IRQ 8 as driven
    std::uint8_t held[10];      ///< time registers 0..9 while SET stops the clock
    std::uint8_t reserved[4];
    std::uint8_t cmos[128];  ///< registers A..D, alarms and RAM; 0, 2, 4, 6..9 unused
};

MARGAY_STATE(RtcState, "rtc", 1, 1, section_flag::critical, offset_s, deadline_ns, handled_ns,
             index, line, held, reserved, cmos);

}  // namespace margay::vmm
