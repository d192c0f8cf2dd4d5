#include "servers/vmm/devices/rtc.hpp"

#include "servers/vmm/devices/rtc_calendar.hpp"
#include "servers/vmm/devices/time_base.hpp"

#include <algorithm>

namespace margay::vmm {

namespace {

constexpr unsigned reg_a = 0x0a;
constexpr unsigned reg_b = 0x0b;
constexpr unsigned reg_c = 0x0c;
constexpr unsigned reg_d = 0x0d;
constexpr unsigned reg_century = 0x32;

constexpr std::uint8_t b_set = 0x80;
constexpr std::uint8_t b_binary = 0x04;
constexpr std::uint8_t b_24_hours = 0x02;
constexpr std::uint8_t flag_periodic = 0x40;  // the same bits in B (enable) and C (happened)
constexpr std::uint8_t flag_alarm = 0x20;
constexpr std::uint8_t flag_update = 0x10;
constexpr std::uint8_t flags = flag_periodic | flag_alarm | flag_update;
constexpr std::uint8_t c_interrupt = 0x80;
constexpr std::uint8_t divider_mask = 0x70;
constexpr std::uint8_t divider_32khz = 0x20;

constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr std::uint64_t update_ns = 244'000;
constexpr unsigned irq = 8;
constexpr std::int64_t day_s = 86'400;

constexpr auto oscillator = TickRate::make(32'768);

constexpr bool is_alarm(unsigned index) { return index == 1 || index == 3 || index == 5; }

constexpr bool is_time(unsigned index) { return index < 10 && !is_alarm(index); }

}  // namespace

void Rtc::reset(RtcState& state, std::uint64_t epoch_s) noexcept {
    state = {};
    state.offset_s = static_cast<std::int64_t>(epoch_s);
    state.deadline_ns = no_deadline;
    state.cmos[reg_a] = divider_32khz | 6;
    state.cmos[reg_b] = b_24_hours;
    state.cmos[reg_d] = 0x80;  // battery good
}

std::uint8_t Rtc::encode(unsigned value) const noexcept {
    return static_cast<std::uint8_t>(
        (state_->cmos[reg_b] & b_binary) != 0 ? value : (value / 10) << 4 | value % 10);
}

unsigned Rtc::decode(std::uint8_t value) const noexcept {
    return (state_->cmos[reg_b] & b_binary) != 0 ? value : (value >> 4) * 10U + (value & 15);
}

std::uint8_t Rtc::encode_hour(unsigned hour) const noexcept {
    if ((state_->cmos[reg_b] & b_24_hours) != 0) {
        return encode(hour);
    }
    const auto twelve = hour % 12 == 0 ? 12 : hour % 12;
    return static_cast<std::uint8_t>(encode(twelve) | (hour >= 12 ? 0x80 : 0));
}

unsigned Rtc::decode_hour(std::uint8_t value) const noexcept {
    if ((state_->cmos[reg_b] & b_24_hours) != 0) {
        return decode(value);
    }
    return decode(value & 0x7f) % 12 + ((value & 0x80) != 0 ? 12 : 0);
}

std::int64_t Rtc::unix_time(std::uint64_t now_ns) const noexcept {
    return state_->offset_s + static_cast<std::int64_t>(now_ns / second_ns);
}

void Rtc::read_clock(std::uint64_t now_ns, std::uint8_t (&registers)[10],
                     std::uint8_t& century) const noexcept {
    const auto time = unix_time(now_ns);
    const auto days = time >= 0 ? time / day_s : (time - day_s + 1) / day_s;
    const auto second = static_cast<unsigned>(time - days * day_s);
    const auto date = date_from_days(days);
    const auto year = static_cast<unsigned>(date.year < 0 ? 0 : date.year);
    registers[0] = encode(second % 60);
    registers[2] = encode(second / 60 % 60);
    registers[4] = encode_hour(second / 3600);
    registers[6] = encode(weekday_from_days(days));
    registers[7] = encode(date.day);
    registers[8] = encode(date.month);
    registers[9] = encode(year % 100);
    century = encode(year / 100 % 100);
}

void Rtc::set_clock(std::uint64_t now_ns, const std::uint8_t (&registers)[10]) noexcept {
    const auto century = decode(state_->cmos[reg_century]);
    const CalendarDate date{static_cast<std::int64_t>(century) * 100 + decode(registers[9]),
                            decode(registers[8]), decode(registers[7])};
    const auto seconds = static_cast<std::int64_t>(decode(registers[0])) +
                         decode(registers[2]) * 60 + decode_hour(registers[4]) * 3600;
    state_.edit().offset_s =
        days_from_date(date) * day_s + seconds - static_cast<std::int64_t>(now_ns / second_ns);
}

/// Seconds, 1..86400, from Unix time `from` until the alarm next matches; 0: it never does. Alarm bytes
/// 0xc0..0xff match anything.
std::uint64_t Rtc::seconds_to_alarm(std::int64_t from) const noexcept {
    const auto second = state_->cmos[1];
    const auto minute = state_->cmos[3];
    const auto hour = state_->cmos[5];
    auto start = (from + 1) % day_s;
    start = start < 0 ? start + day_s : start;
    const auto any = [](std::uint8_t value) { return value >= 0xc0; };
    const auto want_second = decode(second);
    const auto want_minute = decode(minute);
    const auto want_hour = decode_hour(hour);
    // Step to the next candidate by the coarsest field that does not match; at most a day of minutes.
    auto waited = std::int64_t{0};
    while (waited < day_s) {
        const auto at = (start + waited) % day_s;
        const auto in_hour = at % 3600;
        if (!any(hour) && at / 3600 != want_hour) {
            waited += 3600 - in_hour;
        } else if (!any(minute) && in_hour / 60 != want_minute) {
            waited += 60 - at % 60;
        } else if (!any(second) && at % 60 != want_second) {
            waited +=
                at % 60 < want_second && want_second < 60 ? want_second - at % 60 : 60 - at % 60;
        } else {
            return static_cast<std::uint64_t>(waited) + 1;
        }
    }
    return 0;
}

/// Ticks of the 32.768 kHz oscillator per periodic event as time; 0: none.
std::uint64_t Rtc::period_ns() const noexcept {
    const auto a = state_->cmos[reg_a];
    unsigned select = a & 0x0f;
    if (select == 0 || (a & divider_mask) != divider_32khz) {
        return 0;
    }
    select = select <= 2 ? select + 7 : select;
    return oscillator.ns_at(1ULL << (select - 1));
}

/// Put into register C what happened since the last time.
void Rtc::catch_up(std::uint64_t now_ns) {
    const auto then = state_->handled_ns;
    if (now_ns <= then) {
        return;
    }
    auto& state = state_.edit();
    auto& c = state.cmos[reg_c];
    const auto period = period_ns();
    if (period != 0 && now_ns / period != then / period) {
        c |= flag_periodic;
    }
    const auto now_s = now_ns / second_ns;
    const auto then_s = then / second_ns;
    if (now_s != then_s && (state_->cmos[reg_b] & b_set) == 0) {
        c |= flag_update;
        const auto wait = seconds_to_alarm(unix_time(then));
        if (wait != 0 && wait <= now_s - then_s) {
            c |= flag_alarm;
        }
    }
    state.handled_ns = now_ns;
}

void Rtc::arm(std::uint64_t now_ns) {
    const auto b = state_->cmos[reg_b];
    auto deadline = no_deadline;
    // Once an enabled event has happened, the line is up until register C is read: nothing more to do.
    if ((b & flags) != 0 && state_->line == 0) {
        const auto period = period_ns();
        if ((b & flag_periodic) != 0 && period != 0) {
            deadline = (now_ns / period + 1) * period;
        }
        const auto second = now_ns / second_ns;
        if ((b & b_set) == 0) {
            if ((b & flag_update) != 0) {
                deadline = std::min(deadline, (second + 1) * second_ns);
            }
            if ((b & flag_alarm) != 0) {
                const auto wait = seconds_to_alarm(unix_time(now_ns));
                if (wait != 0) {
                    deadline = std::min(deadline, (second + wait) * second_ns);
                }
            }
        }
    }
    if (deadline != state_->deadline_ns) {
        state_.edit().deadline_ns = deadline;
    }
}

void Rtc::drive() {
    auto& state = state_.edit();
    auto& c = state.cmos[reg_c];
    const auto asserted = (c & state_->cmos[reg_b] & flags) != 0;
    c = static_cast<std::uint8_t>((c & flags) | (asserted ? c_interrupt : 0));
    const std::uint8_t line = asserted ? 1 : 0;
    if (line != state.line) {
        state.line = line;
        lines_.set_irq_line(irq, asserted);
    }
}

void Rtc::expire(std::uint64_t now_ns) {
    if (now_ns < state_->deadline_ns) {
        return;
    }
    catch_up(now_ns);
    drive();
    arm(now_ns);
}

std::uint8_t Rtc::read(std::uint16_t port) {
    if ((port & 1) == 0) {
        return 0xff;  // the index cannot be read
    }
    const auto index = state_->index;
    const auto now_ns = clock_.now_ns();
    if (is_time(index) || index == reg_century) {
        if ((state_->cmos[reg_b] & b_set) != 0) {
            return index == reg_century ? state_->cmos[index] : state_->held[index];
        }
        std::uint8_t registers[10] = {};
        std::uint8_t century = 0;
        read_clock(now_ns, registers, century);
        return index == reg_century ? century : registers[index];
    }
    if (index == reg_a) {
        const auto updating =
            (state_->cmos[reg_b] & b_set) == 0 && now_ns % second_ns >= second_ns - update_ns;
        return static_cast<std::uint8_t>(state_->cmos[reg_a] | (updating ? 0x80 : 0));
    }
    if (index == reg_c) {
        catch_up(now_ns);
        drive();
        const auto value = state_->cmos[reg_c];
        state_.edit().cmos[reg_c] = 0;
        drive();
        arm(now_ns);
        return value;
    }
    return state_->cmos[index];
}

void Rtc::write(std::uint16_t port, std::uint8_t value) {
    if ((port & 1) == 0) {
        state_.edit().index = value & 0x7f;  // bit 7 would mask NMI
        return;
    }
    const auto index = state_->index;
    const auto now_ns = clock_.now_ns();
    catch_up(now_ns);
    auto& state = state_.edit();
    auto& b = state.cmos[reg_b];
    if (is_time(index) || index == reg_century) {
        if ((b & b_set) == 0) {
            read_clock(now_ns, state.held, state.cmos[reg_century]);
        }
        if (index == reg_century) {
            state.cmos[index] = value;
        } else {
            state.held[index] = value;
        }
        if ((b & b_set) == 0) {
            set_clock(now_ns, state_->held);
        }
    } else if (index == reg_a) {
        state.cmos[index] = value & 0x7f;
    } else if (index == reg_b) {
        const auto format = static_cast<std::uint8_t>(b_binary | b_24_hours);
        if ((value & b_set) != 0 && (b & b_set) == 0) {
            b = static_cast<std::uint8_t>((b & ~format) | (value & format));
            read_clock(now_ns, state.held, state.cmos[reg_century]);
            value &= static_cast<std::uint8_t>(~flag_update);
        } else if ((value & b_set) == 0 && (b & b_set) != 0) {
            b = static_cast<std::uint8_t>((b & ~format) | (value & format));
            set_clock(now_ns, state_->held);
        }
        b = value;
    } else if (index != reg_c && index != reg_d) {
        state.cmos[index] = value;
    }
    drive();
    arm(now_ns);
}

}  // namespace margay::vmm
