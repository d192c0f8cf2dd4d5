#include "servers/vmm/devices/pci_host.hpp"

namespace margay::vmm {

namespace {

constexpr std::uint16_t writable_command =
    0x0003 | 0x0004 | 0x0040 | 0x0100;  // I/O, memory, master, parity, SERR

}  // namespace

void PciHost::reset(PciHostState& state) noexcept {
    state = {};
    state.command = 0x0007;
}

void PciHost::write_address(std::uint32_t value) noexcept {
    state_.edit().address = value & 0x80ff'fffc;
}

std::uint8_t PciHost::config_byte(unsigned reg) const noexcept {
    switch (reg) {
    case 0x00:  // vendor 1b36 (Red Hat), device 0008 (generic host bridge)
        return 0x36;
    case 0x01: return 0x1b;
    case 0x02: return 0x08;
    case 0x04: return static_cast<std::uint8_t>(state_->command);
    case 0x05: return static_cast<std::uint8_t>(state_->command >> 8);
    case 0x0b:  // class 06 (bridge), subclass 00 (host)
        return 0x06;
    case 0x3c: return state_->interrupt_line;
    default: return 0;
    }
}

std::uint32_t PciHost::read_data(unsigned offset, unsigned width) const noexcept {
    const auto ones = width == 4 ? ~0U : (1U << (8 * width)) - 1;
    const auto reg = (state_->address & 0xfc) + offset;
    // Bits 8..23 are bus, device and function.
    if ((state_->address & enable) == 0 || (state_->address & 0x00ff'ff00) != 0) {
        return is_function() ? functions_->config_read(device(), reg, width) : ones;
    }
    std::uint32_t value = 0;
    for (unsigned i = 0; i < width; ++i) {
        value |= static_cast<std::uint32_t>(config_byte(reg + i)) << (8 * i);
    }
    return value;
}

void PciHost::write_data(unsigned offset, unsigned width, std::uint32_t value) {
    const auto reg = (state_->address & 0xfc) + offset;
    if ((state_->address & enable) == 0 || (state_->address & 0x00ff'ff00) != 0) {
        if (is_function()) {
            functions_->config_write(device(), reg, width, value);
        }
        return;
    }
    for (unsigned i = 0; i < width; ++i) {
        const auto byte = (value >> (8 * i)) & 0xff;
        switch (reg + i) {
        case 0x04:
            state_.edit().command =
                static_cast<std::uint16_t>((state_->command & 0xff00) | (byte & writable_command));
            break;
        case 0x05:
            state_.edit().command = static_cast<std::uint16_t>((state_->command & 0x00ff) |
                                                               ((byte << 8) & writable_command));
            break;
        case 0x3c: state_.edit().interrupt_line = static_cast<std::uint8_t>(byte); break;
        default: break;
        }
    }
}

}  // namespace margay::vmm
