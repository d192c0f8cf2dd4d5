// What PCI functions are, and why one cannot be given, in words.
#pragma once
#include <cstdint>

#include "proto/boot_info.hpp"
#include "proto/pci.hpp"
#include "support/format.hpp"

namespace margay::init {

// What kind of thing it is (PCI code and ID assignment specification 1.11 §1).
constexpr const char* kind_of(std::uint32_t class_code) {
    switch (class_code >> 8) {
    case 0x0101: return "IDE";
    case 0x0106: return "SATA";
    case 0x0108: return "NVMe";
    case 0x0200: return "Ethernet";
    case 0x0300: return "VGA";
    case 0x0600: return "host bridge";
    case 0x0601: return "ISA bridge";
    case 0x0604: return "PCI bridge";
    case 0x0806: return "IOMMU";
    case 0x0c03: return "USB";
    case 0x0c05: return "SMBus";
    default: break;
    }
    constexpr const char* bases[] = {
        "old device", "storage",    "network",           "display",    "multimedia",
        "memory",     "bridge",     "communication",     "peripheral", "input",
        "dock",       "processor",  "serial bus",        "wireless",   "intelligent",
        "satellite",  "encryption", "signal processing", "accelerator"};
    const std::uint32_t base = class_code >> 16;
    return base < sizeof(bases) / sizeof(bases[0]) ? bases[base] : "device";
}

// docs/manual/passing-a-device-through.md has these texts. Empty: nothing stands in its way.
constexpr const char* to_text(PciOutcome o) {
    switch (o) {
    case PciOutcome::ok: return "";
    case PciOutcome::bridge: return "it is a bridge";
    case PciOutcome::nodes_own: return "it is a part of the machine itself";
    case PciOutcome::unplaced: return "firmware has given one of its BARs no address";
    case PciOutcome::no_messages: return "it has neither MSI nor MSI-X";
    case PciOutcome::group: return "others of its group cannot be given with it";
    case PciOutcome::no_reset: return "nothing resets it";
    case PciOutcome::used: return "nothing resets it, and it was another's before";
    case PciOutcome::did_not_drain: return "what it had begun did not end within 1 s";
    case PciOutcome::lost: return "it did not come back after a reset (1 s)";
    case PciOutcome::past_iommu:
        return "its DMA goes past the IOMMU (virtio without ACCESS_PLATFORM)";
    case PciOutcome::hidden: return "its transactions appear under a bridge's name";
    case PciOutcome::no_line: return "which its interrupt line is, is not known";
    case PciOutcome::shared_line: return "it shares its interrupt line with functions of another";
    case PciOutcome::count: break;
    }
    return "the pci server says what cannot be";
}

template <typename Sink>
void write_firmware_use(Sink& to, const BootFirmwareMemory& m) {
    print(to, "firmware uses memory {x} to {x} through it", m.base, m.base + m.size - 1);
}

}  // namespace margay::init
