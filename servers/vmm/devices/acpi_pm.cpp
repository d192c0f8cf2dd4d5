#include "servers/vmm/devices/acpi_pm.hpp"

#include "servers/vmm/devices/time_base.hpp"

namespace margay::vmm {

namespace {

constexpr auto rate = TickRate::make(pm_timer_hertz);

constexpr std::uint16_t status_timer = 1U << 0;
constexpr std::uint16_t status_global = 1U << 5;
constexpr std::uint16_t status_power_button = 1U << 8;
constexpr std::uint16_t status_clock = 1U
                                       << 10;  // the RTC's alarm: never set, but Linux enables it
constexpr std::uint16_t status_writable =
    status_timer | status_global | status_power_button | status_clock;
constexpr std::uint16_t enable_writable = status_writable;
constexpr std::uint16_t control_sci = 1U << 0;
constexpr std::uint16_t control_writable = 0x1c02;  // BM_RLD, SLP_TYP
constexpr std::uint16_t control_sleep = 1U << 13;
constexpr std::uint64_t half_range = 1ULL << 31;  // TMR_STS is set when bit 31 changes

}  // namespace

void AcpiPm::reset(AcpiPmState& state) noexcept {
    state = {};
    state.deadline_ns = no_deadline;
    state.control = control_sci;
    state.fast_a20 = 0x02;
}

void AcpiPm::catch_up(std::uint64_t now_ns) noexcept {
    const auto ticks = rate.count_at(now_ns);
    auto& state = state_.edit();
    if (ticks / half_range != state.handled_ticks / half_range) {
        state.status |= status_timer;
    }
    state.handled_ticks = ticks;
}

void AcpiPm::arm(std::uint64_t now_ns) noexcept {
    if ((state_->enable & status_timer) == 0 || (state_->status & status_timer) != 0) {
        state_.edit().deadline_ns = no_deadline;
        return;
    }
    const auto ticks = rate.count_at(now_ns);
    state_.edit().deadline_ns = rate.ns_at((ticks / half_range + 1) * half_range);
}

void AcpiPm::drive() {
    const std::uint8_t line = (state_->status & state_->enable) != 0 ? 1 : 0;
    if (line != state_->line) {
        state_.edit().line = line;
        lines_.set_irq_line(pm_sci, line != 0);
    }
}

void AcpiPm::expire(std::uint64_t now_ns) {
    if (now_ns < state_->deadline_ns) {
        return;
    }
    catch_up(now_ns);
    arm(now_ns);
    drive();
}

void AcpiPm::see_power_presses(std::uint32_t presses) {
    if (presses == state_->presses) {
        return;
    }
    auto& state = state_.edit();
    state.presses = presses;
    state.status |= status_power_button;
    drive();
}

std::uint32_t AcpiPm::read(std::uint16_t port, unsigned width) {
    if (port == pm_timer && width == 4) {
        return static_cast<std::uint32_t>(rate.count_at(clock_.now_ns()));
    }
    std::uint32_t value = 0;
    for (unsigned i = 0; i < width; ++i) {
        value |= static_cast<std::uint32_t>(read_byte(static_cast<std::uint16_t>(port + i)))
                 << (8 * i);
    }
    return value;
}

std::uint8_t AcpiPm::read_byte(std::uint16_t port) {
    const auto offset = static_cast<unsigned>(port - pm_base);
    const auto high = (offset & 1) * 8;
    switch (offset) {
    case 0:
    case 1:
        catch_up(clock_.now_ns());
        drive();
        return static_cast<std::uint8_t>(state_->status >> high);
    case 2:
    case 3: return static_cast<std::uint8_t>(state_->enable >> high);
    case 4:
    case 5: return static_cast<std::uint8_t>(state_->control >> high);
    case 8:
    case 9:
    case 10:
    case 11: return static_cast<std::uint8_t>(rate.count_at(clock_.now_ns()) >> (8 * (offset - 8)));
    default: return offset < 12 ? 0 : 0xff;
    }
}

void AcpiPm::write(std::uint16_t port, unsigned width, std::uint32_t value) {
    for (unsigned i = 0; i < width; ++i) {
        write_byte(static_cast<std::uint16_t>(port + i),
                   static_cast<std::uint8_t>(value >> (8 * i)));
    }
}

void AcpiPm::write_byte(std::uint16_t port, std::uint8_t value) {
    const auto offset = static_cast<unsigned>(port - pm_base);
    const auto high = (offset & 1) * 8;
    const auto bits = static_cast<std::uint16_t>(value << high);
    const auto kept = static_cast<std::uint16_t>(0xff00U >> high);
    switch (offset) {
    case 0:
    case 1:
        catch_up(clock_.now_ns());
        state_.edit().status &= static_cast<std::uint16_t>(~(bits & status_writable));
        break;
    case 2:
    case 3:
        catch_up(clock_.now_ns());
        state_.edit().enable =
            static_cast<std::uint16_t>(((state_->enable & kept) | bits) & enable_writable);
        break;
    case 4:
    case 5:
        state_.edit().control = static_cast<std::uint16_t>(
            (((state_->control & kept) | bits) & control_writable) | control_sci);
        if ((bits & control_sleep) != 0) {
            enter_sleep();
        }
        return;
    default: return;
    }
    arm(clock_.now_ns());
    drive();
}

void AcpiPm::enter_sleep() {
    if (((state_->control >> 10) & 7) == pm_sleep_type_s5) {
        control_.power_off();
    }
}

void AcpiPm::write_reset_control(std::uint8_t value) {
    // Bit 2 going from 0 to 1 resets; bit 1 chooses hard or soft, which is the same here.
    const auto rising = (~state_->reset_control & value & 0x04) != 0;
    state_.edit().reset_control = value & 0x0a;
    if (rising) {
        control_.reset();
    }
}

void AcpiPm::write_fast_a20(std::uint8_t value) {
    state_.edit().fast_a20 = value & 0x02;
    if ((value & 0x01) != 0) {
        control_.reset();
    }
}

void AcpiPm::write_keyboard_command(std::uint8_t value) {
    // 0xf0..0xff pulse the output bits that are 0; bit 0 is the processor's reset.
    if ((value & 0xf1) == 0xf0) {
        control_.reset();
    }
}

}  // namespace margay::vmm
