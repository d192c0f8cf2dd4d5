#pragma once

#include "servers/vmm/devices/apic_bus.hpp"
#include "servers/vmm/devices/io_apic_state.hpp"
#include "servers/vmm/state/journaled.hpp"

#include <cstdint>

namespace margay::vmm {

inline constexpr std::uint64_t io_apic_address = 0xfec0'0000;

/// I/O APIC with as many pins as its state says and an EOI register (Intel 82093AA data sheet; version 0x20).
class IoApic {
  public:
    IoApic(Journaled<IoApicState> state, ApicBus& bus) noexcept : state_{state}, bus_{bus} {}

    static void reset(IoApicState& state) noexcept;

    void set_line(unsigned pin, bool asserted);
    /// A level-triggered vector was completed: clear Remote IRR, deliver again what is still asserted.
    void end_of_interrupt(std::uint8_t vector);
    /// Pin 0 passes the PIC's INTR on (delivery mode ExtINT).
    [[nodiscard]] bool passes_external() const noexcept;

    /// Register page access, `offset` 0..0xfff. Only 4-byte accesses reach registers.
    [[nodiscard]] std::uint64_t mmio_read(std::uint32_t offset, unsigned width) const noexcept;
    void mmio_write(std::uint32_t offset, unsigned width, std::uint64_t value);

  private:
    [[nodiscard]] std::uint32_t read_register(unsigned index) const noexcept;
    void write_register(unsigned index, std::uint32_t value);
    void service(unsigned pin);

    Journaled<IoApicState> state_;
    ApicBus& bus_;
};

}  // namespace margay::vmm
