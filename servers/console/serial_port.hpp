// A 16550 UART, driven through port capabilities and by its interrupts.
#pragma once
#include "libipc/system_call.hpp"
#include "servers/console/queue.hpp"
#include "servers/console/received.hpp"

namespace margay::console {

class SerialPort {
  public:
    SerialPort(Slot ports, std::uint16_t base) : ports_{ports}, base_{base} {}

    // Whether there is a UART at all: ports without a device read as all ones and keep nothing.
    bool is_there();
    // 115200 8n1. For the line that the boot loader did not set up.
    void set_speed();
    // FIFO on, emptied or as it is; no interrupts yet.
    void init(bool empties);

    // What was received, up to a FIFO's worth, in place of what was there.
    void take(Received& to);
    // False if the line takes no byte now.
    bool try_put(char c);
    // Up to a FIFO's worth. True if the line took something.
    bool transmit(Outgoing& out);
    // The same in one system call. Whoever dies in it may have sent them all: they are sent again.
    bool transmit_at_once(Outgoing& out);
    // What interrupts: bytes that were received; an empty transmitter. Without the first one the other end is
    // told to wait, and bytes stay in the FIFO. Then the interrupt line is low unless there is something new.
    void listen(bool receive, bool transmit);
    // There is something to be done although nobody interrupts for it any more.
    bool has_work(bool receive, bool transmit);

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
    std::uint8_t enabled_ = 0;
    unsigned room_ = 0;  // bytes the transmitter surely takes
};

}  // namespace margay::console
