#pragma once

#include "servers/vmm/devices/clock.hpp"
#include "servers/vmm/devices/irq_lines.hpp"
#include "servers/vmm/devices/rtc_state.hpp"
#include "servers/vmm/state/journaled.hpp"

#include <cstdint>

namespace margay::vmm {

/// MC146818 real-time clock and CMOS RAM at ports 0x70/0x71, interrupt 8. BCD and binary, 12 and 24 hours,
/// periodic, alarm and update-ended interrupts; register 0x32 is the century. Update-in-progress is set in
/// the last 244 µs before each second, as the data sheet wants.
class Rtc {
  public:
    Rtc(Journaled<RtcState> state, Clock& clock, IrqLines& lines) noexcept
        : state_{state}, clock_{clock}, lines_{lines} {}

    /// `epoch_s`: Unix time at which the VM's clock was 0.
    static void reset(RtcState& state, std::uint64_t epoch_s) noexcept;

    [[nodiscard]] std::uint8_t read(std::uint16_t port);
    void write(std::uint16_t port, std::uint8_t value);

    [[nodiscard]] std::uint64_t next_deadline() const noexcept { return state_->deadline_ns; }
    void expire(std::uint64_t now_ns);

  private:
    [[nodiscard]] std::uint8_t encode(unsigned value) const noexcept;
    [[nodiscard]] unsigned decode(std::uint8_t value) const noexcept;
    [[nodiscard]] std::uint8_t encode_hour(unsigned hour) const noexcept;
    [[nodiscard]] unsigned decode_hour(std::uint8_t value) const noexcept;
    [[nodiscard]] std::int64_t unix_time(std::uint64_t now_ns) const noexcept;
    void read_clock(std::uint64_t now_ns, std::uint8_t (&registers)[10],
                    std::uint8_t& century) const noexcept;
    void set_clock(std::uint64_t now_ns, const std::uint8_t (&registers)[10]) noexcept;
    [[nodiscard]] std::uint64_t seconds_to_alarm(std::int64_t from) const noexcept;
    [[nodiscard]] std::uint64_t period_ns() const noexcept;
    void catch_up(std::uint64_t now_ns);
    void arm(std::uint64_t now_ns);
    void drive();

    Journaled<RtcState> state_;
    Clock& clock_;
    IrqLines& lines_;
};

}  // namespace margay::vmm
