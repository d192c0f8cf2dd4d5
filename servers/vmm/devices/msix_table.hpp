#pragma once

#include "servers/vmm/devices/interrupt_message.hpp"
#include "servers/vmm/devices/msix_table_state.hpp"
#include "servers/vmm/state/journaled.hpp"

#include <cstdint>
#include <optional>

namespace margay::vmm {

/// The MSI-X table of a function and its pending bits (PCI local bus specification 3.0 §6.8.2). The guest's own: what the
/// function really sends is the node's, and comes here by its number.
class MsixTable {
  public:
    static constexpr unsigned entry_bytes = 16;
    /// Offsets in an entry.
    static constexpr unsigned data_at = 8, control_at = 12;

    /// Of the VM's messages those from `first` on; what does not exist of them is left out.
    MsixTable(unsigned first, unsigned entries, Journaled<MsixTableState> state) noexcept
        : first_{first < max_guest_messages ? first : max_guest_messages},
          entries_{entries < max_guest_messages - first_ ? entries : max_guest_messages - first_},
          state_{state} {}

    /// Every message of every function is masked.
    static void reset(MsixTableState& state) noexcept;
    /// Those of this one, and none is pending.
    void reset() noexcept;

    /// `offset` into the table; `width` 1, 2, 4 or 8, aligned. Beyond the last entry: zeros, and no effect.
    [[nodiscard]] std::uint64_t read(std::uint64_t offset, unsigned width) const noexcept;
    /// The message whose entry was written; it may have become free to go: take_pending().
    std::optional<unsigned> write(std::uint64_t offset, unsigned width,
                                  std::uint64_t value) noexcept;
    /// `offset` into the pending bits, which the guest only reads.
    [[nodiscard]] std::uint64_t read_pending(std::uint64_t offset, unsigned width) const noexcept;

    /// Message `number` has come. What the guest is to get of it now: nothing while it is masked, by its entry or with all
    /// others; it is pending then.
    [[nodiscard]] std::optional<InterruptMessage> arrive(unsigned number, bool all_masked) noexcept;
    /// One that was pending and may go now.
    [[nodiscard]] std::optional<InterruptMessage> take_pending(unsigned number,
                                                               bool all_masked) noexcept;

    /// Where message `number` goes. Nothing: its entry is masked, as while the guest writes it.
    [[nodiscard]] std::optional<InterruptMessage> sent(unsigned number) const noexcept;

    [[nodiscard]] unsigned entries() const noexcept { return entries_; }
    [[nodiscard]] bool is_masked(unsigned number) const noexcept {
        return (state_->entry[first_ + number].control & 1) != 0;
    }

  private:
    [[nodiscard]] std::uint8_t byte(std::uint64_t offset) const noexcept;
    [[nodiscard]] std::uint64_t bit(unsigned number) const noexcept {
        return std::uint64_t{1} << (first_ + number);
    }

    unsigned first_, entries_;
    Journaled<MsixTableState> state_;
};

}  // namespace margay::vmm
