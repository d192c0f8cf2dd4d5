// A 16550 UART, driven through port capabilities.
#pragma once
#include "libipc/system_call.hpp"
#include "servers/console/multiplexer.hpp"
#include "servers/console/raw_line.hpp"

namespace margay::console {

class SerialPort final : public SerialSink, public RawPort {
  public:
    SerialPort(Slot ports, std::uint16_t base) : ports_{ports}, base_{base} {}

    // Whether there is a UART at all: ports without a device read as all ones and keep nothing.
    bool is_there();
    // 115200 8n1. For the line that the boot loader did not set up.
    void set_speed();
    // FIFO on, interrupt for received bytes.
    void init();
    // Waits for the transmitter.
    void put(char c) override;
    bool try_put(char c) override;
    bool get(char& c) override;

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
