#include "servers/init/clock.hpp"

#include "libipc/system_call.hpp"

namespace margay::init {

namespace {

struct Moment {
    unsigned second, minute, hour, day, month, year;
    bool operator==(const Moment&) const = default;
};

unsigned read(Slot ports, std::uint8_t index) {
    (void)port_write(ports, 0x70, 1, index);
    return port_read(ports, 0x71, 1) & 0xff;
}

Moment read_all(Slot ports) {
    const bool binary = (read(ports, 0x0b) & 4) != 0;
    const auto number = [&](std::uint8_t index) {
        const unsigned v = read(ports, index);
        return binary ? v : (v >> 4) * 10 + (v & 15);
    };
    return {number(0), number(2), number(4), number(7), number(8), number(9)};
}

std::uint64_t to_unix(const Moment& m) {
    // Days since 1970-03-01's era by the civil calendar, months counted from March.
    const std::uint64_t year = 2000 + m.year - (m.month <= 2 ? 1 : 0);
    const std::uint64_t month = (m.month + 9) % 12;
    const std::uint64_t day_of_year = (153 * month + 2) / 5 + m.day - 1;
    const std::uint64_t days =
        year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719468;
    return ((days * 24 + m.hour) * 60 + m.minute) * 60 + m.second;
}

}  // namespace

std::uint64_t read_clock(Slot ports) {
    // Two equal readings outside an update; bounded, in case there is no clock.
    Moment last = read_all(ports);
    for (unsigned i = 0; i < 1000; ++i) {
        if (read(ports, 0x0a) & 0x80) continue;
        const Moment now = read_all(ports);
        if (now == last) break;
        last = now;
    }
    return to_unix(last);
}

}  // namespace margay::init
