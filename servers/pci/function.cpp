#include "servers/pci/function.hpp"

#include <bitset>

namespace margay::pci {

namespace {

constexpr std::uint16_t status_has_list = 1 << 4;
constexpr std::uint32_t bar_is_ports = 1, bar_prefetchable = 1 << 3;
constexpr std::uint32_t nobody = 0xffff;

namespace id {
constexpr std::uint8_t power = 0x01, msi = 0x05, express = 0x10, msix = 0x11;
constexpr std::uint16_t access_control = 0x0d;
}  // namespace id

void set_command(Config& config, Address a, std::uint16_t value) {
    // The status register above it is cleared by ones.
    config.write(a, reg::command, value);
}

// All bits that can be set are set for the moment.
std::uint32_t probe(Config& config, Address a, unsigned offset) {
    const std::uint32_t before = config.read(a, offset);
    config.write(a, offset, 0xffffffff);
    const std::uint32_t mask = config.read(a, offset);
    config.write(a, offset, before);
    return mask;
}

Bar read_bar(Config& config, Address a, unsigned offset, bool has_next) {
    const std::uint32_t low = config.read(a, offset), mask = probe(config, a, offset);
    Bar b;
    if (mask == 0) return b;
    if ((low & bar_is_ports) != 0) {
        // The upper half need not be there (§7.5.1.2.1).
        const std::uint32_t bits = mask & ~3u & 0xffff;
        b.kind = Bar::Kind::ports;
        b.base = low & ~3u & 0xffff;
        b.size = bits == 0 ? 0 : (~bits & 0xffff) + 1u;
    } else {
        b.kind = Bar::Kind::memory;
        b.prefetchable = (low & bar_prefetchable) != 0;
        b.wide = (low >> 1 & 3) == 2 && has_next;
        b.base = low & ~0xfull;
        std::uint64_t bits = mask & ~0xfull;
        if (b.wide) {
            b.base |= std::uint64_t{config.read(a, offset + 4)} << 32;
            bits |= std::uint64_t{probe(config, a, offset + 4)} << 32;
        } else {
            bits |= 0xffffffffull << 32;
        }
        b.size = bits == 0 ? 0 : ~bits + 1;
        if ((low >> 1 & 3) == 2 && !has_next) b.size = 0;
    }
    // A power of two, and at a multiple of it.
    if ((b.size & (b.size - 1)) != 0 || (b.size != 0 && b.base % b.size != 0)) b.size = 0;
    return b;
}

void read_bars(Config& config, Function& f) {
    const std::uint16_t before = config.read16(f.address, reg::command);
    set_command(config, f.address,
                before & static_cast<std::uint16_t>(~(command::ports | command::memory)));
    for (unsigned i = 0; i < Function::bars; ++i) {
        f.bar[i] = read_bar(config, f.address, reg::first_bar + i * 4, i + 1 < Function::bars);
        if (f.bar[i].wide) ++i;
    }
    set_command(config, f.address, before);
}

bool lies_within(const Function& f, unsigned bar, std::uint64_t offset, std::uint64_t bytes) {
    if (bar >= Function::bars || f.bar[bar].kind != Bar::Kind::memory) return false;
    return offset <= f.bar[bar].size && bytes <= f.bar[bar].size - offset;
}

MsixTable read_msix(Config& config, const Function& f) {
    const unsigned at = f.capabilities.msix;
    MsixTable t;
    const std::uint32_t table = config.read(f.address, at + 4);
    const std::uint32_t pending = config.read(f.address, at + 8);
    const unsigned entries = (config.read(f.address, at) >> 16 & 0x7ff) + 1;
    constexpr unsigned entry_bytes = 16;
    t.bar = table & 7, t.offset = table & ~7u;
    t.pending_bar = pending & 7, t.pending_offset = pending & ~7u;
    if (lies_within(f, t.bar, t.offset, std::uint64_t{entries} * entry_bytes) &&
        lies_within(f, t.pending_bar, t.pending_offset, (entries + 63) / 64 * 8))
        t.entries = entries;
    return t;
}

// Source validation, request and completion redirect, upstream forwarding: what it has of them is turned on.
bool isolates(Config& config, Address a, unsigned at) {
    constexpr std::uint32_t needed = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 4;
    const std::uint32_t both = config.read(a, at + 4);  // capability, control above it
    if ((both >> 16 & needed) == needed) return true;
    if ((both & needed) != needed) return false;
    config.write(a, at + 4, both | needed << 16);
    return (config.read(a, at + 4) >> 16 & needed) == needed;
}

}  // namespace

Capabilities find_capabilities(Config& config, Address a) {
    Capabilities found;
    if ((config.read16(a, reg::status) & status_has_list) == 0) return found;
    std::bitset<plain_bytes / 4> seen;
    for (unsigned at = config.read8(a, reg::capabilities) & ~3u; at >= 0x40;) {
        if (seen[at / 4]) break;
        seen[at / 4] = true;
        const std::uint32_t header = config.read(a, at);
        const auto room = [at](unsigned bytes) { return at + bytes <= plain_bytes; };
        const auto here = static_cast<std::uint8_t>(at);
        switch (header & 0xff) {
        case id::power:
            if (found.power == 0 && room(8)) found.power = here;
            break;
        case id::msi:
            if (found.msi == 0 && room(24)) found.msi = here;
            break;
        case id::express:
            if (found.express == 0 && room(20)) found.express = here;
            break;
        case id::msix:
            if (found.msix == 0 && room(12)) found.msix = here;
            break;
        default: break;
        }
        at = header >> 8 & 0xfc;
    }
    if (found.express == 0 || !config.has_extended()) return found;
    std::bitset<extended_bytes / 4> seen_there;
    for (unsigned at = reg::extended_capabilities;
         at >= reg::extended_capabilities && !seen_there[at / 4];) {
        seen_there[at / 4] = true;
        const std::uint32_t header = config.read(a, at);
        if (header == 0 || header == 0xffffffff) break;
        if ((header & 0xffff) == id::access_control && at + 8 <= extended_bytes &&
            found.access_control == 0)
            found.access_control = static_cast<std::uint16_t>(at);
        at = header >> 20 & 0xffc;
    }
    return found;
}

bool read_function(Config& config, Address a, Function& f) {
    const std::uint32_t ids = config.read(a, reg::vendor);
    if ((ids & 0xffff) == nobody || (ids & 0xffff) == 0) return false;
    f = {};
    f.address = a;
    f.vendor = static_cast<std::uint16_t>(ids);
    f.device = static_cast<std::uint16_t>(ids >> 16);
    const std::uint32_t class_and_revision = config.read(a, reg::revision);
    f.class_code = class_and_revision >> 8;
    f.revision = static_cast<std::uint8_t>(class_and_revision);
    const std::uint8_t header = config.read8(a, reg::header_type);
    f.multifunction = (header & 0x80) != 0;
    const unsigned layout = header & 0x7f;
    f.is_bridge = layout == 1;
    if (layout <= 1) f.interrupt_pin = config.read8(a, reg::interrupt_pin);
    if (f.interrupt_pin > 4) f.interrupt_pin = 0;
    f.capabilities = find_capabilities(config, a);
    if (f.capabilities.access_control != 0)
        f.isolates = isolates(config, a, f.capabilities.access_control);
    if (f.is_bridge) {
        const std::uint32_t buses = config.read(a, reg::buses);
        f.secondary = static_cast<std::uint8_t>(buses >> 8);
        f.subordinate = static_cast<std::uint8_t>(buses >> 16);
        return true;
    }
    if (layout != 0) return true;  // of no layout that has BARs like these
    if (f.class_code >> 16 == 0x06 || f.class_code >> 8 == 0x0806) return true;
    read_bars(config, f);
    if (f.capabilities.msix != 0) f.msix = read_msix(config, f);
    if (f.capabilities.express != 0)
        f.function_level_reset = (config.read(a, f.capabilities.express + 4u) >> 28 & 1) != 0;
    return true;
}

}  // namespace margay::pci
