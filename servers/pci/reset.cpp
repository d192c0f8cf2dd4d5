#include "servers/pci/reset.hpp"

namespace margay::pci {

namespace {

constexpr std::uint32_t msi_enable = 1 << 16,
                        msix_enable = 1u << 31;  // in the capability's first register
constexpr std::uint32_t power_state = 3;
constexpr unsigned device_control = 8;  // of the PCI Express capability, its status above it
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
            } else if (e.reset == Reset::function) {
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
