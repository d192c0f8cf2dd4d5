#include "servers/vmm/devices/pci_function.hpp"

#include "proto/vm_control.hpp"
#include "servers/vmm/devices/register_byte.hpp"

#include <bitset>

namespace margay::vmm {

namespace {

namespace id {
constexpr unsigned power = 0x01, msi = 0x05, vendor = 0x09, express = 0x10, msix = 0x11;
}  // namespace id

namespace reg {
constexpr unsigned command = 0x04, status = 0x06, cache_line = 0x0c, latency = 0x0d,
                   header_type = 0x0e, self_test = 0x0f, first_bar = 0x10, after_bars = 0x28,
                   rom = 0x30, capabilities = 0x34, interrupt_line = 0x3c, interrupt_pin = 0x3d,
                   latencies = 0x3e, first_capability = 0x40;
}  // namespace reg

constexpr std::uint16_t decodes_ports = 1 << 0, decodes_memory = 1 << 1, masters = 1 << 2,
                        no_line = 1 << 10;
/// I/O, memory, master, parity, SERR, no INTx.
constexpr std::uint16_t command_writable = 0x0547;
constexpr std::uint8_t status_has_list = 1 << 4, status_line = 1 << 3;

constexpr unsigned power_bytes = 8, express_bytes = 60, msix_bytes = 12;
constexpr unsigned device_capabilities = 4, device_control = 8;
constexpr std::uint8_t initiates_reset = 0x80;  // in device control's upper byte
constexpr std::uint8_t can_reset = 0x10;  // function level reset, in device capabilities' top byte
constexpr std::uint8_t port_bar_flag = 1, wide_bar = 4;  // what the low bits of a BAR say

}  // namespace

PciFunction::PciFunction(const GuestFunction& real, unsigned number,
                         Journaled<PciFunctionsState> state) noexcept
    : real_{real}, number_{number}, state_{state}, msi_{0, 0, number, state} {
    find_capabilities();
    for (unsigned i = 0; i < capabilities_; ++i)
        if (capability_[i].id == id::msi)
            msi_ = Msi{real_control(capability_[i].at), real.msi_messages, number, state};
}

std::uint16_t PciFunction::real_control(unsigned at) const noexcept {
    return static_cast<std::uint16_t>(real_.config[at + 2] | real_.config[at + 3] << 8);
}

unsigned PciFunction::bytes_of(unsigned id, unsigned at) const noexcept {
    switch (id) {
    case id::power: return power_bytes;
    case id::msi: return Msi::bytes(real_control(at));
    case id::vendor: return real_.config[at + 2];  // its own length
    case id::express: return express_bytes;
    case id::msix: return msix_bytes;
    default: return 0;
    }
}

bool PciFunction::is_shown(unsigned id) const noexcept {
    return id == id::msix ? real_.messages != 0 : id == id::msi ? real_.msi_messages != 0 : true;
}

/// What leads in a circle, out of the space, or over another one is no capability. Of each kind the first counts, but for those of
/// the vendor.
void PciFunction::find_capabilities() noexcept {
    if ((real_.config[reg::status] & status_has_list) == 0) return;
    std::bitset<pci_config_bytes> taken;
    std::bitset<pci_config_bytes> seen;
    for (unsigned at = real_.config[reg::capabilities] & ~3U;
         at >= reg::first_capability && !seen[at] && capabilities_ < most_capabilities;
         at = real_.config[at + 1] & ~3U) {
        seen[at] = true;
        const unsigned kind = real_.config[at];
        const unsigned bytes = bytes_of(kind, at);
        if (bytes < 3 || at + bytes > pci_config_bytes) continue;
        bool is_free = true;
        for (unsigned i = 0; i < bytes; ++i) is_free = is_free && !taken[at + i];
        for (unsigned i = 0; i < capabilities_; ++i)
            is_free = is_free && (capability_[i].id != kind || kind == id::vendor);
        if (!is_free) continue;
        if (kind == id::msix && msix_ != 0) continue;
        for (unsigned i = 0; i < bytes; ++i) taken[at + i] = true;
        if (kind == id::msix) msix_ = static_cast<std::uint8_t>(at);
        if (!is_shown(kind)) continue;
        capability_[capabilities_++] = {static_cast<std::uint8_t>(kind),
                                        static_cast<std::uint8_t>(at),
                                        static_cast<std::uint8_t>(bytes)};
    }
}

unsigned PciFunction::real_messages() const noexcept {
    if (msix_ == 0) return 0;
    return (real_.config[msix_ + 2U] | (real_.config[msix_ + 3U] & 7U) << 8) + 1;
}

bool PciFunction::is_wide(unsigned bar) const noexcept {
    return real_.bar_size[bar] != 0 && (real_.bar_flags[bar] & 7) == wide_bar;
}

std::uint32_t PciFunction::bar_register(unsigned bar) const noexcept {
    if (bar != 0 && is_wide(bar - 1)) return now().bar[bar];
    return real_.bar_size[bar] == 0 ? 0 : now().bar[bar] | real_.bar_flags[bar];
}

std::uint64_t PciFunction::memory_bar(unsigned bar) const noexcept {
    const bool decodes = (now().command & decodes_memory) != 0 && now().power == 0;
    if (!decodes || real_.bar_size[bar] == 0 || (real_.bar_flags[bar] & port_bar_flag) != 0)
        return nowhere;
    const std::uint64_t high = is_wide(bar) && bar + 1 < pci_bars ? now().bar[bar + 1] : 0;
    return high << 32 | now().bar[bar];
}

std::uint64_t PciFunction::port_bar(unsigned bar) const noexcept {
    const bool decodes = (now().command & decodes_ports) != 0 && now().power == 0;
    if (!decodes || real_.bar_size[bar] == 0 || (real_.bar_flags[bar] & port_bar_flag) == 0)
        return nowhere;
    return now().bar[bar];
}

bool PciFunction::may_master() const noexcept {
    return (now().command & masters) != 0 && now().power == 0;
}

PciInterrupts PciFunction::interrupts() const noexcept {
    return msix_on()                                       ? PciInterrupts::msix
           : msi_.is_on()                                  ? PciInterrupts::msi
           : line() != 0 && (now().command & no_line) == 0 ? PciInterrupts::line
                                                           : PciInterrupts::none;
}

std::uint64_t PciFunction::wish() const noexcept {
    const PciInterrupts kind = interrupts();
    const std::uint64_t log = kind == PciInterrupts::msi ? msi_.log_messages() : 0;
    return std::uint64_t{now().resets} << function_wish::resets_shift |
           std::uint64_t{static_cast<std::uint8_t>(kind)} << function_wish::interrupts_shift |
           log << function_wish::messages_shift | (may_master() ? function_wish::bus_master : 0);
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
                return now().power | 8;  // it keeps its registers in D3hot: they are here
            return 0;
        case id::msix:
            if (offset == 2 || offset == 3)
                return byte_of((real_.messages - 1U) | now().msix_control, offset - 2);
            return real_.config[reg];
        case id::msi: return msi_.read(offset);
        case id::express:
            // An endpoint of the root complex: there is no link above it that anybody sees.
            if (offset == 2) return static_cast<std::uint8_t>((real_.config[reg] & 0xf) | 0x90);
            if (offset == 3) return 0;
            if (offset == device_capabilities + 3) return (real_.config[reg] & 0x0f) | can_reset;
            if (offset == device_control || offset == device_control + 1)
                return byte_of(now().device_control, offset - device_control);
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
    case reg::command + 1: return byte_of(now().command, reg - reg::command);
    case reg::status:
        return static_cast<std::uint8_t>((capabilities_ != 0 ? status_has_list : 0) |
                                         (line_fired() ? status_line : 0));
    case reg::capabilities: return capabilities_ != 0 ? capability_[0].at : 0;
    case reg::interrupt_line: return now().interrupt_line;
    case reg::interrupt_pin: return static_cast<std::uint8_t>(line());
    case reg::status + 1:
    case reg::cache_line:
    case reg::latency:
    case reg::header_type:
    case reg::self_test:
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
    const bool is_upper = bar != 0 && is_wide(bar - 1);
    const std::uint64_t size = real_.bar_size[is_upper ? bar - 1 : bar];
    if (size == 0) return;
    const std::uint64_t sized = ~(size - 1);
    put(edit().bar[bar], lane, value, static_cast<std::uint32_t>(is_upper ? sized >> 32 : sized));
}

void PciFunction::write_capability(const Capability& c, unsigned offset, std::uint8_t value,
                                   PciEffect& effect) noexcept {
    switch (c.id) {
    case id::power:
        // D1 and D2 do not exist: such a write is ignored (PCI power management 1.2 §3.2.4).
        if (offset == 4 && ((value & 3) == 0 || (value & 3) == 3) && (value & 3) != now().power) {
            edit().power = value & 3;
            effect.mapping = effect.bus_master = effect.messages = true;
        }
        return;
    case id::msix:
        if (offset == 3) {
            edit().msix_control = static_cast<std::uint16_t>((value & 0xc0) << 8);
            effect.messages = true;
        }
        return;
    case id::msi:
        msi_.write(offset, value);
        effect.messages = true;
        return;
    case id::express:
        if (offset == device_control + 1 && (value & initiates_reset) != 0) {
            PciFunctionState& state = edit();
            reset(state);
            ++state.resets;
            msi_.reset();
            effect = {true, true, true, true};
        } else if (offset == device_control || offset == device_control + 1) {
            put(edit().device_control, offset - device_control, value, std::uint16_t{0x7fff});
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
        const std::uint16_t before = now().command;
        put(edit().command, reg - reg::command, value, command_writable);
        const auto changed = static_cast<std::uint16_t>(before ^ now().command);
        effect.mapping |= (changed & decodes_memory) != 0;
        effect.bus_master |= (changed & masters) != 0;
        return;
    }
    if (reg == reg::interrupt_line) {
        edit().interrupt_line = value;
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
