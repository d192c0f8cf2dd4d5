// What a PCI function says of itself: identity, BARs, capabilities, the ways to reset it.
#pragma once
#include <cstdint>

#include "servers/pci/config.hpp"

namespace margay::pci {

struct Bar {
    enum class Kind : std::uint8_t { none, ports, memory };
    Kind kind = Kind::none;
    bool wide = false;  // takes this register and the next one
    bool prefetchable = false;
    std::uint64_t base = 0, size = 0;  // bytes; 0: there is none, or what it says cannot be
};

// Offsets of capabilities; 0: there is none.
struct Capabilities {
    std::uint8_t power = 0, msi = 0, msix = 0, express = 0;
    std::uint16_t access_control = 0;  // extended
};

// The MSI-X table and the pending bits (§7.7.2).
struct MsixTable {
    unsigned entries = 0;  // 1 to 2048; 0: there is none, or it does not lie within its BAR
    std::uint8_t bar = 0, pending_bar = 0;
    std::uint32_t offset = 0, pending_offset = 0;  // bytes
};

// What brings a function back to how it is after power-on, the first of these that it has.
enum class Reset : std::uint8_t {
    none,
    function,  // function level reset (§6.6.2)
    bus,       // of the port above it: everything there is reset
};

struct Function {
    static constexpr unsigned bars = 6;

    Address address;
    std::uint16_t vendor = 0, device = 0;
    std::uint32_t class_code = 0;  // class << 16 | subclass << 8 | interface
    std::uint8_t revision = 0;
    bool multifunction = false;
    bool is_bridge = false;
    std::uint8_t secondary = 0, subordinate = 0;  // of a bridge: the buses behind it
    std::uint8_t interrupt_pin = 0;               // 1: INTA; 0: none
    Bar bar[bars];
    Capabilities capabilities;
    MsixTable msix;
    bool function_level_reset = false;

    bool is_host_bridge() const { return class_code >> 8 == 0x0600; }
    // A port's access control: requests come up with their true source, and none goes to a sibling (§6.12).
    bool isolates = false;
};

// False: there is none. Sizing a BAR turns the function's decoding off for the moment: it must be nobody's. BARs of bridges
// and of the host's own functions are not sized.
bool read_function(Config& config, Address a, Function& f);

// Walks the list of capabilities; a list that leads in a circle or out of the header ends.
Capabilities find_capabilities(Config& config, Address a);

}  // namespace margay::pci
