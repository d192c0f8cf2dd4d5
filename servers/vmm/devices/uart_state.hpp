#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

struct UartState {
#if MARGAY_NEXT_STATE
    std::uint64_t transmitted;  ///< bytes sent to the line
#endif
    std::uint8_t interrupt_enable;  ///< IER, bits 0..3
    std::uint8_t line_control;      ///< LCR
    std::uint8_t modem_control;     ///< MCR, bits 0..4
    std::uint8_t scratch;
    std::uint8_t fifo_control;  ///< FCR bits 0, 6..7
    std::uint8_t divisor_low;
    std::uint8_t divisor_high;
    std::uint8_t overrun;           ///< LSR bit 1, cleared by reading LSR
    std::uint8_t modem_delta;       ///< MSR bits 0..3, cleared by reading MSR
    std::uint8_t transmit_pending;  ///< "transmitter empty" waits to be reported
    std::uint8_t line;              ///< interrupt line as driven
    std::uint8_t refused_input;     ///< receive() had no room
    std::uint8_t receive_head;      ///< index of the oldest byte, 0..15
    std::uint8_t receive_count;     ///< 0..16
    std::uint8_t reserved[2];
    std::uint8_t receive[16];
};

// Builds made for tests speak the next version of this state, with a field at the front. It can be read by
// this version if MARGAY_NEXT_STATE is 1, and by none before it if that is 2.
#if MARGAY_NEXT_STATE
MARGAY_STATE(UartState, "uart", 2, MARGAY_NEXT_STATE, section_flag::critical, transmitted,
             interrupt_enable, line_control, modem_control, scratch, fifo_control, divisor_low,
             divisor_high, overrun, modem_delta, transmit_pending, line, refused_input,
             receive_head, receive_count, reserved, receive);
#else
MARGAY_STATE(UartState, "uart", 1, 1, section_flag::critical, interrupt_enable, line_control,
             modem_control, scratch, fifo_control, divisor_low, divisor_high, overrun, modem_delta,
             transmit_pending, line, refused_input, receive_head, receive_count, reserved, receive);
#endif

}  // namespace margay::vmm
