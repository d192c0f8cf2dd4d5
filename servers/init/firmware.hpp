// What init needs to know of ACPI's tables. They are read once, when the node starts: later their memory may have been carved, and
// who turns the node off must not need any.
#pragma once
#include <cstdint>

#include "servers/init/node.hpp"

namespace margay::init {

struct SoftOff {
    std::uint16_t control = 0;  // PM1a control port, 0: unknown
    std::uint16_t type = 0;     // SLP_TYPa of S5
};

// Configuration space of some buses of segment 0, mapped by the hardware (PCI firmware specification 3.2 §4.1).
struct ConfigWindow {
    std::uint64_t base = 0, size = 0;  // bytes, 1 MiB for each bus
    unsigned first_bus = 0;
};

struct Firmware {
    static constexpr unsigned max_windows = 4;
    SoftOff off;
    ConfigWindow window[max_windows];
    unsigned windows = 0;
};

// What is not there, or is not sound, is left out.
Firmware read_firmware(Node& node);

}  // namespace margay::init
