// A 16550 UART, driven through port capabilities.
#pragma once
#include "libipc/system_call.hpp"
#include "servers/console/multiplexer.hpp"

namespace margay::console {

class SerialPort final : public SerialSink {
  public:
    SerialPort(Slot ports, std::uint16_t base) : ports_{ports}, base_{base} {}

    // FIFO on, interrupt for received bytes.
    void init();
    void put(char c) override;
    // False if nothing was received.
    bool get(char& c);

  private:
    std::uint8_t read(unsigned reg) {
        return static_cast<std::uint8_t>(
            port_read(ports_, static_cast<std::uint16_t>(base_ + reg), 1));
    }
    void write(unsigned reg, std::uint8_t v) {
        (void)port_write(ports_, static_cast<std::uint16_t>(base_ + reg), 1, v);
    }

    Slot ports_;
    std::uint16_t base_;
    unsigned room_ = 0;  // bytes the transmitter surely takes
};

}  // namespace margay::console
