#include "servers/pci/reset.hpp"

namespace margay::pci {

namespace {

constexpr std::uint32_t power_state = 3;
// Of the PCI Express capability, each with its status above it.
constexpr unsigned device_control = 8, link_control = 16, device_control2 = 40;
constexpr unsigned timing = 0x0c;
constexpr std::uint32_t transactions_pending = 1 << 21, initiate_reset = 1 << 15;
constexpr std::uint32_t bus_reset =
    1 << 22;  // of interrupt_line's register, which has the bridge control above it

void disable(Config& config, Address a, unsigned capability, std::uint32_t bit) {
    if (capability == 0) return;
    const std::uint32_t v = config.read(a, capability);
    if ((v & bit) != 0) config.write(a, capability, v & ~bit);
}

// It begins nothing any more, and says nothing.
void silence(Config& config, const Function& f) {
    const std::uint16_t before = config.read16(f.address, reg::command);
    const auto keep = static_cast<std::uint16_t>(before & ~command::bus_master);
    config.write(f.address, reg::command, keep | command::no_line);
    disable(config, f.address, f.capabilities.msi, msi_enable);
    disable(config, f.address, f.capabilities.msix, msix_enable);
}

bool has_pending(Config& config, const Function& f) {
    return f.capabilities.express != 0 &&
           (config.read(f.address, f.capabilities.express + device_control) &
            transactions_pending) != 0;
}

void set_bus_reset(Config& config, const Topology& topology, unsigned index, bool on) {
    const Address port = topology[topology[index].parent].function.address;
    const std::uint32_t v = config.read(port, reg::interrupt_line);
    config.write(port, reg::interrupt_line, on ? v | bus_reset : v & ~bus_reset);
}

// Capabilities of version 1 end before the second device control.
bool has_second(Config& config, const Function& f) {
    return (config.read(f.address, f.capabilities.express) >> 16 & 0xf) >= 2 &&
           f.capabilities.express + device_control2 + 4 <= plain_bytes;
}

void keep(ResetState& state, Config& config, const Function& f) {
    if (state.has_kept) return;
    const Address a = f.address;
    state.kept_timing = config.read16(a, timing);
    if (const unsigned express = f.capabilities.express; express != 0) {
        state.kept_device = config.read16(a, express + device_control);
        state.kept_link = config.read16(a, express + link_control);
        if (has_second(config, f)) state.kept_device2 = config.read16(a, express + device_control2);
    }
    state.has_kept = true;
}

void restore(const ResetState& state, Config& config, const Function& f) {
    if (!state.has_kept) return;
    const Address a = f.address;
    config.write(a, timing, (config.read(a, timing) & 0xffff0000) | state.kept_timing);
    if (const unsigned express = f.capabilities.express; express != 0) {
        config.write(a, express + device_control,
                     state.kept_device & ~static_cast<std::uint32_t>(initiate_reset));
        config.write(a, express + link_control, state.kept_link);
        if (has_second(config, f)) config.write(a, express + device_control2, state.kept_device2);
    }
}

void restore_bars(Config& config, const Function& f) {
    for (unsigned i = 0; i < Function::bars; ++i) {
        const Bar& b = f.bar[i];
        if (b.kind == Bar::Kind::none) continue;
        config.write(f.address, reg::first_bar + 4 * i, static_cast<std::uint32_t>(b.base));
        if (!b.wide) continue;
        ++i;
        config.write(f.address, reg::first_bar + 4 * i, static_cast<std::uint32_t>(b.base >> 32));
    }
}

}  // namespace

void go_on(ResetState& state, Config& config, const Topology& topology, unsigned index,
           std::uint64_t now, std::uint64_t ticks_per_ms) {
    using Step = ResetState::Step;
    const Topology::Entry& e = topology[index];
    const Function& f = e.function;
    const auto after = [now, ticks_per_ms](std::uint64_t ms) { return now + ms * ticks_per_ms; };
    // The registers first, then the step: who dies in between takes the step again.
    while (!state.is_over() && now >= state.due) {
        switch (state.step) {
        case Step::begin: {
            const unsigned power = f.capabilities.power;
            const std::uint32_t v = power == 0 ? 0 : config.read(f.address, power + 4);
            if ((v & power_state) != 0) {
                config.write(f.address, power + 4, v & ~power_state);
                state.due = after(reset_time::wake);
            }
            state.step = Step::power;
            break;
        }
        case Step::power:
            silence(config, f);
            state.end = after(reset_time::drain);
            state.step = Step::drain;
            break;
        case Step::drain:
            if (has_pending(config, f)) {
                if (now >= state.end)
                    state.step = Step::did_not_drain;
                else
                    state.due = after(reset_time::look);
                break;
            }
            if (e.reset != Reset::none) keep(state, config, f);
            if (e.reset == Reset::function) {
                const unsigned at = f.capabilities.express + device_control;
                config.write(f.address, at, (config.read(f.address, at) & 0xffff) | initiate_reset);
                state.due = after(reset_time::function);
                state.end = after(reset_time::function + reset_time::back);
                state.step = Step::back;
            } else if (e.reset == Reset::bus) {
                set_bus_reset(config, topology, index, true);
                state.due = after(reset_time::hold);
                state.step = Step::hold;
            } else {
                state.step = Step::done;
            }
            break;
        case Step::hold:
            set_bus_reset(config, topology, index, false);
            state.due = after(reset_time::bus);
            state.end = after(reset_time::bus + reset_time::back);
            state.step = Step::back;
            break;
        case Step::back:
            if (config.read(f.address, reg::vendor) ==
                (f.vendor | static_cast<std::uint32_t>(f.device) << 16)) {
                restore_bars(config, f);
                restore(state, config, f);
                silence(config, f);
                state.step = Step::done;
            } else if (now >= state.end) {
                state.step = Step::lost;
            } else {
                state.due = after(reset_time::look);
            }
            break;
        default: return;
        }
    }
}

}  // namespace margay::pci
