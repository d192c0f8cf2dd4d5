#include "servers/pci/lines.hpp"

namespace margay::pci {

namespace {

constexpr unsigned pins = 4;
// Of the ICH9's I/O APIC: PIRQA and PIRQE.
constexpr unsigned pirq_a = 16, pirq_e = 20;
constexpr unsigned subsystem = 0x2c;
constexpr std::uint32_t qemu = 0x11001af4;

// Registers of a real ICH9 can route otherwise.
bool is_q35(Config& config, const Topology& topology) {
    const unsigned lpc = topology.find({0, 31, 0});
    if (lpc == topology.count()) return false;
    const Function& f = topology[lpc].function;
    return f.vendor == 0x8086 && f.device == 0x2918 && config.read(f.address, subsystem) == qemu;
}

unsigned q35_line(unsigned device, unsigned pin) {
    if (device < 25) return pirq_e + (device + pin) % pins;
    return (device == 30 ? pirq_e : pirq_a) + pin;
}

}  // namespace

// Each bridge turns the pins of what is behind it by the number of the device (PCI-to-PCI bridge specification 1.2 §9.1).
unsigned line_of(Config& config, const Topology& topology, unsigned index) {
    const Topology::Entry* e = &topology[index];
    if (e->function.interrupt_pin == 0 || !is_q35(config, topology)) return 0;
    unsigned pin = e->function.interrupt_pin - 1u;
    while (e->parent != Topology::no_parent) {
        pin = (pin + e->function.address.device) % pins;
        e = &topology[e->parent];
    }
    return q35_line(e->function.address.device, pin);
}

}  // namespace margay::pci
