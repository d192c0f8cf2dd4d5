#include "servers/console/serial_port.hpp"

namespace margay::console {

namespace {
constexpr unsigned fifo_bytes = 16;
constexpr std::uint8_t lsr_data = 0x01, lsr_empty = 0x20;
}  // namespace

bool SerialPort::is_there() {
    if (read(5) == 0xff) return false;
    for (const std::uint8_t pattern : {std::uint8_t{0x5a}, std::uint8_t{0xa5}}) {
        write(7, pattern);  // the scratch register
        if (read(7) != pattern) return false;
    }
    return true;
}

void SerialPort::set_speed() {
    write(3, 0x83);  // divisor latch
    write(0, 1);
    write(1, 0);
    write(3, 0x03);
}

void SerialPort::init() {
    write(2, 0x07);  // FIFO on, cleared; trigger at one byte
    write(4, 0x0b);  // DTR, RTS, OUT2: the interrupt line is connected
    write(1, 0x01);  // received data
}

void SerialPort::put(char c) {
    if (room_ == 0) {
        // Bounded: a line that is stuck must not stop the server.
        for (unsigned i = 0; i < 1'000'000 && (read(5) & lsr_empty) == 0; ++i) {}
        room_ = fifo_bytes;
    }
    write(0, static_cast<std::uint8_t>(c));
    --room_;
}

bool SerialPort::try_put(char c) {
    if (room_ == 0) {
        if ((read(5) & lsr_empty) == 0) return false;
        room_ = fifo_bytes;
    }
    write(0, static_cast<std::uint8_t>(c));
    --room_;
    return true;
}

bool SerialPort::get(char& c) {
    if ((read(5) & lsr_data) == 0) return false;
    c = static_cast<char>(read(0));
    return true;
}

}  // namespace margay::console
