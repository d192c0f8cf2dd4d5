#include "servers/console/serial_port.hpp"

namespace margay::console {

namespace {
constexpr unsigned fifo_bytes = 16;
static_assert(fifo_bytes <= port_burst);
constexpr std::uint8_t ier_receive = 0x01, ier_transmit = 0x02;
constexpr std::uint8_t iir_none = 0x01;
constexpr std::uint8_t mcr_dtr = 0x01, mcr_rts = 0x02,
                       mcr_out2 = 0x08;  // OUT2: interrupts connected
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

void SerialPort::init(bool empties) {
    // FIFO on, and cleared; trigger at 14 bytes, or when no more come.
    write(2, empties ? 0xc7 : 0xc1);
    write(1, 0);
    write(4, mcr_dtr | mcr_rts | mcr_out2);
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

bool SerialPort::transmit(Outgoing& out) {
    bool any = false;
    for (unsigned n = 0; n < fifo_bytes && !out.is_empty() && try_put(out.front()); ++n) {
        out.pop();
        any = true;
    }
    return any;
}

bool SerialPort::transmit_at_once(Outgoing& out) {
    if (out.is_empty()) return false;
    if (room_ == 0 && (read(5) & lsr_empty) != 0) room_ = fifo_bytes;
    const unsigned n = out.used() < room_ ? out.used() : room_;
    if (n == 0) return false;
    std::uint64_t bytes[2] = {};
    for (unsigned i = 0; i < n; ++i)
        bytes[i / 8] |= std::uint64_t{static_cast<unsigned char>(out.at(i))} << i % 8 * 8;
    room_ -= n;
    (void)port_fill(ports_, base_, bytes, n);
    out.pop(n);
    return true;
}

void SerialPort::take(Received& to) {
    const PortBytes p = port_drain(ports_, base_, static_cast<std::uint16_t>(base_ + 5), lsr_data);
    // Without a branch between: who dies has the bytes or not.
    to.bytes[0] = p.bytes[0];
    to.bytes[1] = p.bytes[1];
    to.place = Received::none_of(p.count);
}

void SerialPort::listen(bool receive, bool transmit) {
    const auto wanted =
        static_cast<std::uint8_t>((receive ? ier_receive : 0) | (transmit ? ier_transmit : 0));
    if (wanted != enabled_) {
        if (((wanted ^ enabled_) & ier_receive) != 0)
            write(4, static_cast<std::uint8_t>(mcr_dtr | mcr_out2 | (receive ? mcr_rts : 0)));
        write(1, enabled_ = wanted);
    }
    // Reading the cause takes back the request of an empty transmitter.
    for (unsigned i = 0; i < 4 && (read(2) & iir_none) == 0; ++i) (void)read(6);
}

bool SerialPort::has_work(bool receive, bool transmit) {
    const std::uint8_t status = read(5);
    return (receive && (status & lsr_data) != 0) || (transmit && (status & lsr_empty) != 0);
}

}  // namespace margay::console
