#pragma once

#include "servers/vmm/devices/clock.hpp"
#include "servers/vmm/devices/irq_lines.hpp"
#include "servers/vmm/devices/pit_state.hpp"
#include "servers/vmm/state/journaled.hpp"

#include <cstdint>

namespace margay::vmm {

inline constexpr std::uint64_t pit_hertz = 1'193'182;

/// Intel 8254 interval timer at ports 0x40..0x43 and its part of port 0x61. Channel 0 pulses IRQ 0 at each
/// terminal count; ticks missed while nobody looked become one pulse. Channel 1 refreshes nothing. Channel
/// 2 is gated by port 0x61 bit 0 and its output is bit 5 there.
class Pit {
  public:
    Pit(Journaled<PitState> state, Clock& clock, IrqLines& lines) noexcept
        : state_{state}, clock_{clock}, lines_{lines} {}

    static void reset(PitState& state) noexcept;

    /// Ports 0x40..0x43.
    [[nodiscard]] std::uint8_t read(std::uint16_t port);
    void write(std::uint16_t port, std::uint8_t value);

    /// Port 0x61: gate and speaker in bits 0..1, refresh toggle in 4, channel 2's output in 5.
    [[nodiscard]] std::uint8_t read_speaker();
    void write_speaker(std::uint8_t value);

    [[nodiscard]] std::uint64_t next_deadline() const noexcept { return state_->deadline_ns; }
    void expire(std::uint64_t now_ns);

  private:
    [[nodiscard]] std::uint64_t tick() const;
    [[nodiscard]] static std::uint64_t elapsed(const PitChannelState& channel,
                                               std::uint64_t tick) noexcept;
    [[nodiscard]] static std::uint32_t count(const PitChannelState& channel,
                                             std::uint64_t tick) noexcept;
    [[nodiscard]] static bool output(const PitChannelState& channel, std::uint64_t tick) noexcept;
    void control(std::uint8_t value);
    void latch_count(PitChannelState& channel) const;
    void latch_status(PitChannelState& channel) const;
    void load(unsigned index, std::uint16_t value);
    void arm(std::uint64_t tick) noexcept;

    Journaled<PitState> state_;
    Clock& clock_;
    IrqLines& lines_;
};

}  // namespace margay::vmm
