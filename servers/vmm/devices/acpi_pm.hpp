#pragma once

#include "servers/vmm/devices/acpi_pm_state.hpp"
#include "servers/vmm/devices/clock.hpp"
#include "servers/vmm/devices/irq_lines.hpp"
#include "servers/vmm/devices/machine_control.hpp"
#include "servers/vmm/state/journaled.hpp"

#include <cstdint>

namespace margay::vmm {

inline constexpr std::uint64_t pm_timer_hertz = 3'579'545;
inline constexpr std::uint16_t pm_base = 0x600;     ///< PM1a event block, 4 bytes
inline constexpr std::uint16_t pm_control = 0x604;  ///< PM1a control, 2 bytes
inline constexpr std::uint16_t pm_timer = 0x608;    ///< 32-bit PM timer
inline constexpr std::uint8_t pm_sleep_type_s5 = 5;
inline constexpr unsigned pm_sci = 9;
inline constexpr std::uint16_t reset_port = 0xcf9;
inline constexpr std::uint8_t reset_value = 0x06;

/// ACPI fixed hardware (ACPI 6.4 §4.8): PM1a registers, 32-bit timer, soft-off; and the PC's ways to reset:
/// port 0xcf9, port 0x92 bit 0, keyboard controller command 0xfe. ACPI mode is always on.
class AcpiPm {
  public:
    AcpiPm(Journaled<AcpiPmState> state, Clock& clock, IrqLines& lines,
           MachineControl& control) noexcept
        : state_{state}, clock_{clock}, lines_{lines}, control_{control} {}

    static void reset(AcpiPmState& state) noexcept;

    /// Ports 0x600..0x60b; width 1, 2 or 4.
    [[nodiscard]] std::uint32_t read(std::uint16_t port, unsigned width);
    void write(std::uint16_t port, unsigned width, std::uint32_t value);

    [[nodiscard]] std::uint8_t read_reset_control() const noexcept { return state_->reset_control; }
    void write_reset_control(std::uint8_t value);
    [[nodiscard]] std::uint8_t read_fast_a20() const noexcept { return state_->fast_a20; }
    void write_fast_a20(std::uint8_t value);
    /// Port 0x64.
    void write_keyboard_command(std::uint8_t value);

    /// The power button was pressed so many times since the guest was started. To be called as often as one likes.
    void see_power_presses(std::uint32_t presses);
    /// They are counted from 0 again: what the guest has not noticed yet stays in the status register.
    void forget_power_presses() { state_.edit().presses = 0; }

    [[nodiscard]] std::uint64_t next_deadline() const noexcept { return state_->deadline_ns; }
    void expire(std::uint64_t now_ns);

  private:
    [[nodiscard]] std::uint8_t read_byte(std::uint16_t port);
    void write_byte(std::uint16_t port, std::uint8_t value);
    void enter_sleep();
    void catch_up(std::uint64_t now_ns) noexcept;
    void arm(std::uint64_t now_ns) noexcept;
    void drive();

    Journaled<AcpiPmState> state_;
    Clock& clock_;
    IrqLines& lines_;
    MachineControl& control_;
};

}  // namespace margay::vmm
