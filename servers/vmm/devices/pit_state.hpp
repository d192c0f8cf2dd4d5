#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

/// One counter of the 8254.
struct PitChannelState {
    std::uint64_t start_tick;  ///< PIT tick at which counting of `reload` began
    std::uint32_t reload;      ///< 1..65536; 0: never loaded
    std::uint16_t latched;     ///< count caught by a latch command
    std::uint8_t latch_bytes;  ///< bytes of `latched` not read yet, 0..2
    std::uint8_t latch_high;   ///< the next latched byte read is the high one
    std::uint8_t status;       ///< latched status
    std::uint8_t status_latched;
    std::uint8_t mode;    ///< 0..5
    std::uint8_t access;  ///< 1 low, 2 high, 3 low then high
    std::uint8_t bcd;
    std::uint8_t read_high;   ///< access 3: the next byte read is the high one
    std::uint8_t write_high;  ///< access 3: the next byte written is the high one
    std::uint8_t write_low;   ///< low byte waiting for its high one
    std::uint8_t gate;
    std::uint8_t fired;       ///< one-shot modes: terminal count passed
    std::uint8_t null_count;  ///< programmed but not loaded
    std::uint8_t reserved[5];
};

struct PitState {
    PitChannelState channel[3];
    std::uint64_t deadline_ns;  ///< next edge of channel 0, or no_deadline
    std::uint8_t speaker;       ///< bits 0..1 of port 0x61
    std::uint8_t reserved[7];
};

MARGAY_STATE(PitState, "pit", 1, 1, section_flag::critical, channel, deadline_ns, speaker,
             reserved);

}  // namespace margay::vmm
