#include "servers/vmm/devices/pass_through.hpp"

#include "proto/vm_control.hpp"

#include <algorithm>

namespace margay::vmm {

namespace {

constexpr unsigned first_device = 2;
constexpr std::uint64_t never = ~std::uint64_t{0};

}  // namespace

PassThrough::PassThrough(const Parts& p) noexcept
    : functions_{p.functions},
      count_{std::min<unsigned>(p.functions.count, max_guest_functions)},
      parts_{std::min<unsigned>(p.functions.parts, max_function_parts)},
      hands_{p.hands},
      control_{p.control},
      bus_{p.bus},
      lines_{p.lines},
      messages_{p.messages} {
    for (unsigned i = 0; i < count_; ++i) function_[i].emplace(p.functions.function[i], i, p.state);
    for (unsigned i = 0; i < parts_; ++i) ports_ += functions_.part[i].is_ports;
    for (std::uint64_t& wish : set_up_) wish = never;
}

std::uint32_t PassThrough::config_read(unsigned device, unsigned reg,
                                       unsigned width) const noexcept {
    const unsigned i = device - first_device;
    if (i >= count_) return width == 4 ? ~0U : (1U << (8 * width)) - 1;
    return function_[i]->read(reg, width);
}

void PassThrough::config_write(unsigned device, unsigned reg, unsigned width, std::uint32_t value) {
    const unsigned i = device - first_device;
    if (i >= count_) return;
    PciFunction& function = *function_[i];
    std::uint64_t before[pci_bars];
    for (unsigned bar = 0; bar < pci_bars; ++bar) before[bar] = function.memory_bar(bar);
    const std::uint64_t wish = function.wish();
    const PciEffect effect = function.write(reg, width, value);
    if (effect.mapping) {
        for (unsigned bar = 0; bar < pci_bars; ++bar)
            if (before[bar] != PciFunction::nowhere && before[bar] != function.memory_bar(bar))
                unmap_bar(i, bar);
    }
    if (effect.reset) table_of(i).reset();
    if (effect.messages) {
        direct(i);
        deliver_pending(i);
    }
    if (function.line() != 0) update_line(function.line() - 1);
    if (function.wish() != wish) control_.await_function(i);
}

void PassThrough::unmap_bar(unsigned function, unsigned bar) {
    for (unsigned i = 0; i < parts_; ++i) {
        const FunctionPart& part = functions_.part[i];
        if (part.function == function && part.bar == bar && part.is_trapped == 0) hands_.unmap(i);
    }
}

std::optional<PassThrough::Place> PassThrough::find(std::uint64_t gpa,
                                                    bool is_trapped) const noexcept {
    for (unsigned i = 0; i < parts_; ++i) {
        const FunctionPart& part = functions_.part[i];
        if (part.function >= count_ || part.bar >= pci_bars || part.is_ports != 0 ||
            (part.is_trapped != 0) != is_trapped)
            continue;
        const std::uint64_t bar = function_[part.function]->memory_bar(part.bar);
        if (bar == PciFunction::nowhere) continue;
        if (!is_in_window(bar, functions_.function[part.function].bar_size[part.bar])) continue;
        if (gpa - bar - part.offset < part.size) return Place{i, gpa - bar};
    }
    return {};
}

// A BAR that reaches out of a window is not in it.
bool PassThrough::is_in_window(std::uint64_t bar, std::uint64_t size) const noexcept {
    const auto is_within = [&](std::uint64_t window, std::uint64_t bytes) {
        return bar >= window && size <= bytes && bar - window <= bytes - size;
    };
    return is_within(function_window, function_window_bytes) ||
           is_within(functions_.high_window, functions_.high_window_bytes);
}

// An access that reaches out of its BAR is none to it.
std::optional<PassThrough::Place> PassThrough::find_ports(std::uint16_t port,
                                                          unsigned width) const noexcept {
    for (unsigned i = 0; i < parts_; ++i) {
        const FunctionPart& part = functions_.part[i];
        if (part.is_ports == 0 || part.function >= count_ || part.bar >= pci_bars) continue;
        const std::uint64_t bar = function_[part.function]->port_bar(part.bar);
        if (bar == PciFunction::nowhere || port < bar || port - bar + width > part.size) continue;
        return Place{i, port - bar};
    }
    return {};
}

std::uint32_t PassThrough::port_read(std::uint16_t port, unsigned width) {
    const std::optional<Place> place = find_ports(port, width);
    if (!place || is_resetting(functions_.part[place->part].function)) return ~0U;
    return hands_.port_read(place->part, place->offset, width);
}

void PassThrough::port_write(std::uint16_t port, unsigned width, std::uint32_t value) {
    const std::optional<Place> place = find_ports(port, width);
    if (place && !is_resetting(functions_.part[place->part].function))
        hands_.port_write(place->part, place->offset, width, value);
}

// Meanwhile it answers nobody.
bool PassThrough::is_resetting(unsigned function) const {
    return (hands_.granted(function) ^ function_[function]->wish()) >>
               function_wish::resets_shift !=
           0;
}

bool PassThrough::touch(std::uint64_t gpa) {
    const std::optional<Place> place = find(gpa, false);
    if (!place) return false;
    const FunctionPart& part = functions_.part[place->part];
    return !is_resetting(part.function) &&
           hands_.map(place->part, gpa - place->offset + part.offset, gpa);
}

bool PassThrough::settle(unsigned function) {
    if (function >= count_) return true;
    const std::uint64_t wish = function_[function]->wish();
    hands_.want(function, wish);
    if (hands_.granted(function) != wish) return false;
    if ((set_up_[function] ^ wish) >> function_wish::resets_shift != 0) {
        set_up_messages(function);
        set_up_[function] = wish;
    }
    return true;
}

void PassThrough::settle_all() {
    for (unsigned i = 0; i < count_; ++i) (void)settle(i);
}

}  // namespace margay::vmm
