#include "servers/vmm/devices/pit.hpp"

#include "servers/vmm/devices/time_base.hpp"

namespace margay::vmm {

namespace {

constexpr auto rate = TickRate::make(pit_hertz);
constexpr std::uint64_t refresh_toggle_ns = 15'085;  // PC/AT refresh request period

constexpr bool periodic(std::uint8_t mode) { return mode == 2 || mode == 3; }

constexpr bool triggered(std::uint8_t mode) {
    return mode == 1 || mode == 5;  // a rising gate starts them
}

constexpr bool stopped(const PitChannelState& channel) {
    return channel.gate == 0 && !triggered(channel.mode);
}

constexpr std::uint16_t to_bcd(std::uint32_t value) {
    value %= 10'000;
    return static_cast<std::uint16_t>(((value / 1000) << 12) | ((value / 100 % 10) << 8) |
                                      ((value / 10 % 10) << 4) | (value % 10));
}

constexpr std::uint32_t from_bcd(std::uint16_t value) {
    return (value >> 12) * 1000U + ((value >> 8) & 15) * 100U + ((value >> 4) & 15) * 10U +
           (value & 15);
}

}  // namespace

void Pit::reset(PitState& state) noexcept {
    state = {};
    state.deadline_ns = no_deadline;
    for (auto& channel : state.channel) {
        channel.access = 3;
        channel.gate = 1;
        channel.null_count = 1;
    }
    state.channel[2].gate = 0;
}

std::uint64_t Pit::tick() const { return rate.count_at(clock_.now_ns()); }

/// Ticks counted since the counter was loaded. While a closed gate stops it, `start_tick` holds them.
std::uint64_t Pit::elapsed(const PitChannelState& channel, std::uint64_t tick) noexcept {
    return stopped(channel) ? channel.start_tick : tick - channel.start_tick;
}

/// The counter's value, 1..65536 while counting; one-shot modes go on downwards through 0 modulo 65536.
std::uint32_t Pit::count(const PitChannelState& channel, std::uint64_t tick) noexcept {
    if (channel.reload == 0 || channel.null_count != 0) {
        return channel.reload;
    }
    const auto passed = elapsed(channel, tick);
    switch (channel.mode) {
    case 2: return static_cast<std::uint32_t>(channel.reload - passed % channel.reload);
    case 3: {  // counts down by two, twice per period
        const auto even = channel.reload & ~1U;
        return even == 0 ? 1
                         : static_cast<std::uint32_t>(even - 2 * (passed % channel.reload) % even);
    }
    default: return static_cast<std::uint32_t>(channel.reload - passed) & 0xffff;
    }
}

bool Pit::output(const PitChannelState& channel, std::uint64_t tick) noexcept {
    if (channel.reload == 0 || channel.null_count != 0) {
        return channel.mode != 0;  // OUT is low in mode 0 from the control word on
    }
    const auto passed = elapsed(channel, tick);
    switch (channel.mode) {
    case 2: return channel.gate == 0 || passed % channel.reload != channel.reload - 1;
    case 3: return channel.gate == 0 || passed % channel.reload < (channel.reload + 1) / 2;
    case 4:
    case 5: return passed != channel.reload;
    default: return passed >= channel.reload;
    }
}

void Pit::arm(std::uint64_t tick) noexcept {
    auto& state = state_.edit();
    const auto& channel = state.channel[0];
    state.deadline_ns = no_deadline;
    if (channel.reload == 0) {
        return;
    }
    if (periodic(channel.mode)) {
        const auto periods = (tick - channel.start_tick) / channel.reload + 1;
        state.deadline_ns = rate.ns_at(channel.start_tick + periods * channel.reload);
    } else if (channel.fired == 0 && (channel.mode == 0 || channel.mode == 4)) {
        state.deadline_ns = rate.ns_at(channel.start_tick + channel.reload);
    }
}

void Pit::expire(std::uint64_t now_ns) {
    if (now_ns < state_->deadline_ns) {
        return;
    }
    state_.edit().channel[0].fired = 1;
    arm(rate.count_at(now_ns));
    lines_.pulse(0);
}

void Pit::latch_count(PitChannelState& channel) const {
    if (channel.latch_bytes != 0) {
        return;  // the first latch holds until it is read
    }
    const auto value = count(channel, tick());
    channel.latched = channel.bcd != 0 ? to_bcd(value) : static_cast<std::uint16_t>(value);
    channel.latch_bytes = channel.access == 3 ? 2 : 1;
    channel.latch_high = channel.access == 2 ? 1 : 0;
}

void Pit::latch_status(PitChannelState& channel) const {
    if (channel.status_latched != 0) {
        return;
    }
    channel.status =
        static_cast<std::uint8_t>((output(channel, tick()) ? 0x80 : 0) | (channel.null_count << 6) |
                                  (channel.access << 4) | (channel.mode << 1) | channel.bcd);
    channel.status_latched = 1;
}

void Pit::control(std::uint8_t value) {
    const auto index = value >> 6;
    if (index == 3) {  // read back
        for (unsigned i = 0; i < 3; ++i) {
            if ((value & (2U << i)) == 0) {
                continue;
            }
            if ((value & 0x20) == 0) {
                latch_count(state_.edit().channel[i]);
            }
            if ((value & 0x10) == 0) {
                latch_status(state_.edit().channel[i]);
            }
        }
        return;
    }
    auto& channel = state_.edit().channel[index];
    const auto access = static_cast<std::uint8_t>((value >> 4) & 3);
    if (access == 0) {
        latch_count(channel);
        return;
    }
    const auto mode = static_cast<std::uint8_t>((value >> 1) & 7);
    channel.access = access;
    channel.mode = mode > 5 ? mode - 4 : mode;
    channel.bcd = value & 1;
    channel.reload = 0;
    channel.latch_bytes = 0;
    channel.status_latched = 0;
    channel.read_high = 0;
    channel.write_high = 0;
    channel.null_count = 1;
    channel.fired = 0;
    if (index == 0) {
        arm(0);
    }
}

void Pit::load(unsigned index, std::uint16_t value) {
    auto& channel = state_.edit().channel[index];
    const auto limit = channel.bcd != 0 ? 10'000U : 65'536U;
    auto reload = channel.bcd != 0 ? from_bcd(value) : value;
    if (reload == 0) {
        reload = limit;
    }
    const auto now = tick();
    channel.reload = reload;
    channel.start_tick = stopped(channel) ? 0 : now;
    channel.null_count = triggered(channel.mode) ? 1 : 0;
    channel.fired = 0;
    if (index == 0) {
        arm(now);
    }
}

std::uint8_t Pit::read(std::uint16_t port) {
    const auto index = port & 3U;
    if (index == 3) {
        return 0xff;  // the control register cannot be read
    }
    const auto& channel = state_->channel[index];
    if (channel.status_latched != 0) {
        state_.edit().channel[index].status_latched = 0;
        return channel.status;
    }
    if (channel.latch_bytes != 0) {
        const auto byte = channel.latch_high != 0 ? channel.latched >> 8 : channel.latched;
        auto& changed = state_.edit().channel[index];
        changed.latch_high ^= 1;
        --changed.latch_bytes;
        return static_cast<std::uint8_t>(byte);
    }
    auto value = count(channel, tick());
    if (channel.bcd != 0) {
        value = to_bcd(value);
    }
    auto high = channel.access == 2;
    if (channel.access == 3) {
        high = channel.read_high != 0;
        state_.edit().channel[index].read_high ^= 1;
    }
    return static_cast<std::uint8_t>(high ? value >> 8 : value);
}

void Pit::write(std::uint16_t port, std::uint8_t value) {
    const auto index = port & 3U;
    if (index == 3) {
        control(value);
        return;
    }
    auto& channel = state_.edit().channel[index];
    switch (channel.access) {
    case 1: load(index, value); break;
    case 2: load(index, static_cast<std::uint16_t>(value << 8)); break;
    default:
        if (channel.write_high == 0) {
            channel.write_low = value;
            channel.write_high = 1;
        } else {
            channel.write_high = 0;
            load(index, static_cast<std::uint16_t>((value << 8) | channel.write_low));
        }
        break;
    }
}

std::uint8_t Pit::read_speaker() {
    const auto now_ns = clock_.now_ns();
    const auto refresh = (now_ns / refresh_toggle_ns) & 1;
    const auto out = output(state_->channel[2], rate.count_at(now_ns));
    return static_cast<std::uint8_t>(state_->speaker | (refresh << 4) | (out ? 0x20 : 0));
}

void Pit::write_speaker(std::uint8_t value) {
    auto& state = state_.edit();
    auto& channel = state.channel[2];
    const std::uint8_t gate = value & 1;
    if (gate != channel.gate && channel.reload != 0) {
        const auto now = tick();
        if (triggered(channel.mode)) {
            if (gate != 0) {
                channel.start_tick = now;
                channel.null_count = 0;
            }
        } else if (gate != 0 && periodic(channel.mode)) {
            channel.start_tick = now;  // a rising gate starts the period anew
        } else {
            channel.start_tick = now - channel.start_tick;  // between "since when" and "how many"
        }
    }
    channel.gate = gate;
    state.speaker = value & 3;
}

}  // namespace margay::vmm
