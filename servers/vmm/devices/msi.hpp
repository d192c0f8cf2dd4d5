#pragma once

#include "servers/vmm/devices/interrupt_message.hpp"
#include "servers/vmm/devices/pci_function_state.hpp"
#include "servers/vmm/state/journaled.hpp"

#include <cstdint>
#include <optional>

namespace margay::vmm {

/// The MSI capability of a function (PCI local bus specification 3.0 §6.8.1), as wide as the real one and with a mask for each
/// message where that has one. The guest's own: what the function really sends is the node's, and comes here by its number.
class Msi {
  public:
    /// `real_control`: message control of the real one. `number`: the function's place in the state. `messages`: as many
    /// as the function can send, a power of two; with 0 nothing is ever on.
    Msi(std::uint16_t real_control, unsigned messages, unsigned number,
        Journaled<PciFunctionsState> state) noexcept;

    /// Bytes of the capability.
    [[nodiscard]] static unsigned bytes(std::uint16_t real_control) noexcept;

    void reset() noexcept { edit() = {}; }

    /// Byte `offset` of the capability, 2 and more.
    [[nodiscard]] std::uint8_t read(unsigned offset) const noexcept;
    void write(unsigned offset, std::uint8_t value) noexcept;

    [[nodiscard]] bool is_on() const noexcept { return now().is_on != 0; }
    /// The function may send 1 << that many.
    [[nodiscard]] unsigned log_messages() const noexcept { return now().log_messages; }

    /// Message `number` has come: what the guest is to get of it now. Nothing while it is masked; it is pending then.
    [[nodiscard]] std::optional<InterruptMessage> arrive(unsigned number) noexcept;
    /// One that was pending and may go now.
    [[nodiscard]] std::optional<InterruptMessage> take_pending(unsigned number) noexcept;
    /// Where message `number` goes, whether it is masked or not. Nothing: the function does not send it.
    [[nodiscard]] std::optional<InterruptMessage> sent(unsigned number) const noexcept;
    [[nodiscard]] bool has_pending() const noexcept { return now().pending != 0; }

  private:
    [[nodiscard]] const MsiState& now() const noexcept { return state_->msi[number_]; }
    [[nodiscard]] MsiState& edit() noexcept { return state_.edit().msi[number_]; }
    [[nodiscard]] std::uint16_t control() const noexcept;
    [[nodiscard]] InterruptMessage message(unsigned number) const noexcept;

    bool is_wide_, masks_;
    std::uint8_t log_capable_ = 0;
    bool exists_;
    std::uint16_t given_;  ///< a bit for each message
    unsigned number_;
    Journaled<PciFunctionsState> state_;
};

}  // namespace margay::vmm
