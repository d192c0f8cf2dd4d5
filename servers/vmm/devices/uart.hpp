#pragma once

#include "servers/vmm/devices/console_sink.hpp"
#include "servers/vmm/devices/irq_lines.hpp"
#include "servers/vmm/devices/uart_state.hpp"
#include "servers/vmm/state/journaled.hpp"

#include <cstdint>

namespace margay::vmm {

/// 16550A UART (National Semiconductor PC16550D data sheet) at eight ports, by default COM1: 0x3f8, IRQ 4.
/// Output takes no time: the transmitter is always empty. A character-timeout interrupt comes at once
/// instead of after four character times. The interrupt line is gated by OUT2 as on a PC.
class Uart {
  public:
    Uart(Journaled<UartState> state, ConsoleSink& sink, IrqLines& lines, unsigned irq) noexcept
        : state_{state}, sink_{sink}, lines_{lines}, irq_{irq} {}

    static void reset(UartState& state) noexcept;

    /// `offset` 0..7 from the first port.
    [[nodiscard]] std::uint8_t read(unsigned offset);
    void write(unsigned offset, std::uint8_t value);

    /// A byte from the line. False: no room, ConsoleSink::input_room() will tell.
    [[nodiscard]] bool receive(std::uint8_t byte);

  private:
    [[nodiscard]] std::uint8_t identification() const noexcept;
    [[nodiscard]] std::uint8_t modem_status() const noexcept;
    [[nodiscard]] unsigned capacity() const noexcept;
    void push(std::uint8_t byte) noexcept;
    [[nodiscard]] std::uint8_t pop();
    [[nodiscard]] std::uint8_t read_other(unsigned offset);
    void write_other(unsigned offset, std::uint8_t value);
    void transmit(std::uint8_t byte);
    void loop_back(std::uint8_t byte);
    void write_fifo_control(std::uint8_t value);
    void write_modem_control(std::uint8_t value);
    void drive();

    Journaled<UartState> state_;
    ConsoleSink& sink_;
    IrqLines& lines_;
    unsigned irq_;
};

}  // namespace margay::vmm
