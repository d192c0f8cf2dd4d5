// Configuration space: 4096 bytes of registers for each PCI function, of which the first 256 can be reached everywhere
// (PCI Express base specification 5.0 §7.2).
#pragma once
#include <cstdint>

namespace margay::pci {

// A function of the machine. The segment is 0.
struct Address {
    std::uint8_t bus = 0, device = 0, function = 0;

    constexpr std::uint16_t requester() const {
        return static_cast<std::uint16_t>(bus << 8 | device << 3 | function);
    }
    friend constexpr bool operator==(Address, Address) = default;
};

constexpr Address address_of(std::uint16_t requester) {
    return {static_cast<std::uint8_t>(requester >> 8),
            static_cast<std::uint8_t>(requester >> 3 & 31),
            static_cast<std::uint8_t>(requester & 7)};
}

constexpr unsigned devices_per_bus = 32, functions_per_device = 8;
constexpr unsigned plain_bytes = 256, extended_bytes = 4096;

// How registers are reached. A function that is not there reads as all ones and takes no writes.
class Config {
  public:
    // Whether registers from plain_bytes on can be reached.
    virtual bool has_extended() const = 0;
    // offset: a multiple of 4 below extended_bytes.
    virtual std::uint32_t read(Address a, unsigned offset) = 0;
    virtual void write(Address a, unsigned offset, std::uint32_t value) = 0;
    // What was written so far is meant to stay.
    virtual void settle() {}

    std::uint16_t read16(Address a, unsigned offset) {
        return static_cast<std::uint16_t>(read(a, offset & ~3u) >> offset % 4 * 8);
    }
    std::uint8_t read8(Address a, unsigned offset) {
        return static_cast<std::uint8_t>(read(a, offset & ~3u) >> offset % 4 * 8);
    }

  protected:
    ~Config() = default;
};

namespace reg {
constexpr unsigned vendor = 0x00, device = 0x02, command = 0x04, status = 0x06;
constexpr unsigned revision = 0x08;  // and the class code above it
constexpr unsigned header_type = 0x0e, first_bar = 0x10, buses = 0x18, capabilities = 0x34;
constexpr unsigned interrupt_line = 0x3c, interrupt_pin = 0x3d, bridge_control = 0x3e;
constexpr unsigned extended_capabilities = 0x100;
}  // namespace reg

// In the first register of the capabilities.
constexpr std::uint32_t msi_enable = 1 << 16, msi_wide = 1 << 23, msi_masks = 1 << 24;
constexpr unsigned msi_messages_shift = 20;  // three bits: how many it sends, as a power of two
constexpr std::uint32_t msix_enable = 1u << 31, msix_function_mask = 1u << 30;

namespace command {
constexpr std::uint16_t ports = 1 << 0, memory = 1 << 1, bus_master = 1 << 2;
constexpr std::uint16_t no_line = 1 << 10;  // INTx is off
}  // namespace command

}  // namespace margay::pci
