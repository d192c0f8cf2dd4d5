#pragma once

#include "servers/vmm/devices/pic_state.hpp"
#include "servers/vmm/state/journaled.hpp"

#include <cstdint>

namespace margay::vmm {

/// The PC's two cascaded 8259A interrupt controllers, at ports 0x20/0x21, 0xa0/0xa1 and 0x4d0/0x4d1 (ELCR).
/// An edge stays latched when its line falls before it is acknowledged (real chips turn that into a
/// spurious IRQ 7).
class Pic {
  public:
    explicit Pic(Journaled<PicState> state) noexcept : state_{state} {}

    static void reset(PicState& state) noexcept;

    /// `irq` 0..15; 2 is the cascade and is ignored.
    void set_line(unsigned irq, bool asserted) noexcept;

    /// INTR is asserted.
    [[nodiscard]] bool output() const noexcept { return state_->output != 0; }

    /// The vector that an acknowledge cycle would return now; changes nothing.
    [[nodiscard]] std::uint8_t peek() const noexcept;

    /// The acknowledge cycle. Without a request: the spurious vector (input 7), nothing in service.
    std::uint8_t acknowledge() noexcept;

    [[nodiscard]] std::uint8_t read(std::uint16_t port) noexcept;
    void write(std::uint16_t port, std::uint8_t value) noexcept;

  private:
    [[nodiscard]] static int highest(const PicChipState& chip, std::uint8_t bits) noexcept;
    [[nodiscard]] static int pending(const PicChipState& chip, bool is_master) noexcept;
    static void set_input(PicChipState& chip, unsigned input, bool asserted) noexcept;
    static void acknowledge(PicChipState& chip, unsigned input) noexcept;
    void write_command(unsigned index, std::uint8_t value) noexcept;
    void write_data(unsigned index, std::uint8_t value) noexcept;
    void end_of_interrupt(PicChipState& chip, std::uint8_t command) noexcept;
    void update() noexcept;

    Journaled<PicState> state_;
};

}  // namespace margay::vmm
