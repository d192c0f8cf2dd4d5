#include "servers/vmm/devices/pci_function.hpp"

#include <algorithm>
#include <bitset>

namespace margay::vmm {

namespace {

namespace id {
constexpr unsigned power = 0x01, msi = 0x05, vendor = 0x09, express = 0x10, msix = 0x11;
}  // namespace id

namespace reg {
constexpr unsigned command = 0x04, status = 0x06, cache_line = 0x0c, latency = 0x0d,
                   header_type = 0x0e, self_test = 0x0f, first_bar = 0x10, after_bars = 0x28,
                   rom = 0x30, capabilities = 0x34, reserved = 0x35, interrupt_line = 0x3c,
                   interrupt_pin = 0x3d, latencies = 0x3e, first_capability = 0x40;
}  // namespace reg

constexpr std::uint16_t decodes_ports = 1 << 0, decodes_memory = 1 << 1, masters = 1 << 2;
/// I/O, memory, master, parity, SERR, no INTx.
constexpr std::uint16_t command_writable = 0x0547;
constexpr std::uint8_t status_has_list = 1 << 4;

constexpr unsigned power_bytes = 8, express_bytes = 60, msix_bytes = 12;
constexpr unsigned device_capabilities = 4, device_control = 8, device_status = 10,
                   link_control = 16;
constexpr std::uint8_t initiates_reset = 0x80;  // in device control's upper byte
constexpr std::uint8_t can_reset = 0x10;  // function level reset, in device capabilities' top byte
constexpr std::uint64_t nowhere = ~std::uint64_t{0};

/// One byte of a register is written.
template <typename T>
void put(T& value, unsigned lane, std::uint8_t byte, T writable) noexcept {
    const auto mask = static_cast<T>(T{0xff} << (8 * lane) & writable);
    value = static_cast<T>((value & static_cast<T>(~mask)) |
                           (static_cast<T>(T{byte} << (8 * lane)) & mask));
}

template <typename T>
std::uint8_t byte_of(T value, unsigned lane) noexcept {
    return static_cast<std::uint8_t>(value >> (8 * lane));
}

}  // namespace

PciFunction::PciFunction(const RealFunction& real, Journaled<PciFunctionState> state) noexcept
    : real_{real}, state_{state} {
    find_capabilities();
}

unsigned PciFunction::bytes_of(unsigned id, unsigned at) const noexcept {
    switch (id) {
    case id::power: return power_bytes;
    case id::msi: {
        const bool is_wide = (real_.config[at + 2] & 0x80) != 0;
        const bool masks = (real_.config[at + 3] & 1) != 0;
        return (is_wide ? 14U : 10U) + (masks ? 10U : 0U);
    }
    case id::vendor: return real_.config[at + 2];  // its own length
    case id::express: return express_bytes;
    case id::msix: return msix_bytes;
    default: return 0;
    }
}

/// What leads in a circle, out of the space, or over another one is no capability. Of each kind the first counts, but for those of
/// the vendor.
void PciFunction::find_capabilities() noexcept {
    if ((real_.config[reg::status] & status_has_list) == 0) return;
    std::bitset<RealFunction::config_bytes> taken;
    std::bitset<256> seen;
    for (unsigned at = real_.config[reg::capabilities] & ~3U;
         at >= reg::first_capability && !seen[at] && capabilities_ < most_capabilities;
         at = real_.config[at + 1] & ~3U) {
        seen[at] = true;
        const unsigned kind = real_.config[at];
        const unsigned bytes = bytes_of(kind, at);
        if (bytes < 3 || at + bytes > RealFunction::config_bytes) continue;
        bool is_free = true;
        for (unsigned i = 0; i < bytes; ++i) is_free = is_free && !taken[at + i];
        for (unsigned i = 0; i < capabilities_; ++i)
            is_free = is_free && (capability_[i].id != kind || kind == id::vendor);
        if (!is_free) continue;
        for (unsigned i = 0; i < bytes; ++i) taken[at + i] = true;
        capability_[capabilities_++] = {static_cast<std::uint8_t>(kind),
                                        static_cast<std::uint8_t>(at),
                                        static_cast<std::uint8_t>(bytes)};
        if (kind == id::msix) msix_ = static_cast<std::uint8_t>(at);
        if (kind == id::msi) msi_ = static_cast<std::uint8_t>(at);
    }
}

bool PciFunction::msi_is_wide() const noexcept { return (real_.config[msi_ + 2U] & 0x80) != 0; }

std::uint32_t PciFunction::bar_register(unsigned bar) const noexcept {
    const RealFunction::Bar& b = real_.bar[bar];
    if (bar != 0 && real_.bar[bar - 1].is_wide) return state_->bar[bar];
    return b.size == 0 ? 0 : state_->bar[bar] | b.flags;
}

std::uint64_t PciFunction::address_of(unsigned bar) const noexcept {
    const std::uint64_t high =
        real_.bar[bar].is_wide && bar + 1 < RealFunction::bars ? state_->bar[bar + 1] : 0;
    return high << 32 | state_->bar[bar];
}

std::uint64_t PciFunction::memory_bar(unsigned bar) const noexcept {
    const RealFunction::Bar& b = real_.bar[bar];
    const bool decodes = (state_->command & decodes_memory) != 0 && state_->power == 0;
    return decodes && b.size != 0 && (b.flags & 1) == 0 ? address_of(bar) : nowhere;
}

std::uint64_t PciFunction::port_bar(unsigned bar) const noexcept {
    const RealFunction::Bar& b = real_.bar[bar];
    const bool decodes = (state_->command & decodes_ports) != 0 && state_->power == 0;
    return decodes && b.size != 0 && (b.flags & 1) != 0 ? address_of(bar) : nowhere;
}

bool PciFunction::may_master() const noexcept {
    return (state_->command & masters) != 0 && state_->power == 0;
}

std::uint8_t PciFunction::msi_byte(unsigned offset) const noexcept {
    const bool is_wide = msi_is_wide();
    if (offset == 2)
        return static_cast<std::uint8_t>((real_.config[msi_ + 2U] & 0x8e) |
                                         (state_->msi_control & 0x71));
    if (offset == 3) return real_.config[msi_ + 3U] & 1;
    if (offset < 8) return byte_of(state_->msi_address, offset - 4);
    const unsigned data = is_wide ? 12 : 8;
    if (offset < data) return byte_of(state_->msi_address_high, offset - 8);
    if (offset < data + 2) return byte_of(state_->msi_data, offset - data);
    const unsigned mask = data + 4;
    return offset >= mask && offset < mask + 4 ? byte_of(state_->msi_mask, offset - mask) : 0;
}

std::uint8_t PciFunction::capability_byte(unsigned reg) const noexcept {
    for (unsigned i = 0; i < capabilities_; ++i) {
        const Capability& c = capability_[i];
        if (reg < c.at || reg >= c.at + unsigned{c.bytes}) continue;
        const unsigned offset = reg - c.at;
        if (offset == 0) return c.id;
        if (offset == 1) return i + 1 < capabilities_ ? capability_[i + 1].at : 0;
        switch (c.id) {
        case id::power:
            // No power management events, and D0 and D3hot only: what wakes a machine is not the guest's.
            if (offset == 2) return 3;
            if (offset == 4)
                return state_->power | 8;  // it keeps its registers in D3hot: they are here
            return 0;
        case id::msi: return msi_byte(offset);
        case id::msix:
            if (offset == 3)
                return static_cast<std::uint8_t>((real_.config[reg] & 7) |
                                                 state_->msix_control >> 8);
            return real_.config[reg];
        case id::express:
            // An endpoint of the root complex: there is no link above it that anybody sees.
            if (offset == 2) return static_cast<std::uint8_t>((real_.config[reg] & 0xf) | 0x90);
            if (offset == 3) return 0;
            if (offset == device_capabilities + 3) return (real_.config[reg] & 0x0f) | can_reset;
            if (offset == device_control || offset == device_control + 1)
                return byte_of(state_->device_control, offset - device_control);
            if (offset < device_control) return real_.config[reg];
            return 0;
        default: return real_.config[reg];
        }
    }
    return 0;
}

std::uint8_t PciFunction::byte(unsigned reg) const noexcept {
    if (reg >= reg::first_capability) return capability_byte(reg);
    if (reg >= reg::first_bar && reg < reg::after_bars)
        return byte_of(bar_register((reg - reg::first_bar) / 4), reg % 4);
    if (reg >= reg::rom && reg < reg::capabilities) return 0;
    switch (reg) {
    case reg::command:
    case reg::command + 1: return byte_of(state_->command, reg - reg::command);
    case reg::status: return capabilities_ != 0 ? status_has_list : 0;
    case reg::capabilities: return capabilities_ != 0 ? capability_[0].at : 0;
    case reg::interrupt_line: return state_->interrupt_line;
    case reg::status + 1:
    case reg::cache_line:
    case reg::latency:
    case reg::header_type:
    case reg::self_test:
    case reg::interrupt_pin:
    case reg::latencies:
    case reg::latencies + 1: return 0;
    default: return reg > reg::capabilities ? 0 : real_.config[reg];
    }
}

std::uint32_t PciFunction::read(unsigned reg, unsigned width) const noexcept {
    std::uint32_t value = 0;
    for (unsigned i = 0; i < width; ++i) {
        value |= static_cast<std::uint32_t>(byte(reg + i)) << (8 * i);
    }
    return value;
}

void PciFunction::write_bar(unsigned bar, unsigned lane, std::uint8_t value) noexcept {
    const bool is_upper = bar != 0 && real_.bar[bar - 1].is_wide;
    const RealFunction::Bar& b = real_.bar[is_upper ? bar - 1 : bar];
    if (b.size == 0) return;
    const std::uint64_t sized = ~(b.size - 1);
    auto writable = static_cast<std::uint32_t>(is_upper ? sized >> 32 : sized);
    // 16 bits of ports are all that there are.
    if ((b.flags & 1) != 0) writable &= 0xffff;
    put(state_.edit().bar[bar], lane, value, writable);
}

void PciFunction::write_msi(unsigned offset, std::uint8_t value, PciEffect& effect) noexcept {
    PciFunctionState& s = state_.edit();
    const unsigned data = msi_is_wide() ? 12 : 8, mask = data + 4;
    constexpr std::uint32_t all = 0xffff'ffff;
    effect.messages = true;
    if (offset == 2) {
        // On, and how many of those that it can send.
        const unsigned most = real_.config[msi_ + 2U] >> 1 & 7;
        const unsigned wanted = std::min<unsigned>(value >> 4 & 7, most);
        s.msi_control = static_cast<std::uint16_t>((value & 1) | wanted << 4);
    } else if (offset >= 4 && offset < 8) {
        put(s.msi_address, offset - 4, value, all & ~3U);
    } else if (offset >= 8 && offset < data) {
        put(s.msi_address_high, offset - 8, value, all);
    } else if (offset >= data && offset < data + 2) {
        put(s.msi_data, offset - data, value, std::uint16_t{0xffff});
    } else if (offset >= mask && offset < mask + 4 && (real_.config[msi_ + 3U] & 1) != 0) {
        put(s.msi_mask, offset - mask, value, all);
    } else {
        effect.messages = false;
    }
}

void PciFunction::write_capability(const Capability& c, unsigned offset, std::uint8_t value,
                                   PciEffect& effect) noexcept {
    switch (c.id) {
    case id::power:
        // D1 and D2 do not exist: such a write is ignored (PCI power management 1.2 §3.2.4).
        if (offset == 4 && ((value & 3) == 0 || (value & 3) == 3) && (value & 3) != state_->power) {
            state_.edit().power = value & 3;
            effect.mapping = effect.bus_master = effect.messages = true;
        }
        return;
    case id::msi: return write_msi(offset, value, effect);
    case id::msix:
        if (offset == 3) {
            state_.edit().msix_control = static_cast<std::uint16_t>((value & 0xc0) << 8);
            effect.messages = true;
        }
        return;
    case id::express:
        if (offset == device_control + 1 && (value & initiates_reset) != 0) {
            reset(state_.edit());
            effect = {true, true, true, true};
        } else if (offset == device_control || offset == device_control + 1) {
            put(state_.edit().device_control, offset - device_control, value,
                std::uint16_t{0x7fff});
        }
        return;
    default: return;
    }
}

void PciFunction::write_byte(unsigned reg, std::uint8_t value, PciEffect& effect) noexcept {
    if (reg >= reg::first_bar && reg < reg::after_bars) {
        write_bar((reg - reg::first_bar) / 4, reg % 4, value);
        effect.mapping = true;
        return;
    }
    if (reg == reg::command || reg == reg::command + 1) {
        const std::uint16_t before = state_->command;
        put(state_.edit().command, reg - reg::command, value, command_writable);
        const auto changed = static_cast<std::uint16_t>(before ^ state_->command);
        effect.mapping |= (changed & (decodes_ports | decodes_memory)) != 0;
        effect.bus_master |= (changed & masters) != 0;
        return;
    }
    if (reg == reg::interrupt_line) {
        state_.edit().interrupt_line = value;
        return;
    }
    for (unsigned i = 0; i < capabilities_; ++i) {
        const Capability& c = capability_[i];
        if (reg >= c.at + 2U && reg < c.at + unsigned{c.bytes})
            return write_capability(c, reg - c.at, value, effect);
    }
}

PciEffect PciFunction::write(unsigned reg, unsigned width, std::uint32_t value) noexcept {
    PciEffect effect;
    for (unsigned i = 0; i < width; ++i) {
        write_byte(reg + i, static_cast<std::uint8_t>(value >> (8 * i)), effect);
        // What would be written behind a reset is lost with it.
        if (effect.reset) break;
    }
    return effect;
}

}  // namespace margay::vmm
