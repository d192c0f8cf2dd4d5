#pragma once

#include "servers/vmm/devices/guest_memory.hpp"
#include "servers/vmm/state/order.hpp"
#include "servers/vmm/state/transaction.hpp"

#include <cstring>

namespace margay::vmm {

/// A 32-bit word of guest RAM as it was before transaction `written_in` changed it.
struct GuestWordUndo {
    std::uint64_t written_in;  ///< 0: none
    std::uint64_t gpa;
    std::uint64_t value;
};

/// One exit changes at most two: the guest moves its EOI word by one MSR write, for which the old word is
/// cleared and the new one set.
inline constexpr unsigned guest_word_undos = 2;

/// Words of guest RAM that the VMM reads and changes. What it only writes needs no undo: a replay writes it
/// again, and the guest does not run in between.
class GuestWords {
  public:
    GuestWords(GuestMemory& memory, GuestWordUndo (&undo)[guest_word_undos],
               const Transaction& transaction) noexcept
        : memory_{memory}, undo_{undo}, transaction_{transaction} {}

    /// `gpa` is a multiple of 4.
    [[nodiscard]] bool is_ram(std::uint64_t gpa) { return memory_.window(gpa, 4).size() == 4; }

    /// The four bytes at `gpa`, a multiple of 4, to be changed; their value is written down first. Null:
    /// not RAM, or no record is left.
    [[nodiscard]] std::byte* edit(std::uint64_t gpa) {
        const auto window = memory_.window(gpa, 4);
        if (window.size() != 4) {
            return nullptr;
        }
        const std::uint64_t number = transaction_.number();
        for (auto& undo : undo_) {
            if (undo.written_in == number && number != 0) {
                if (undo.gpa == gpa) {
                    return window.data();  // the older value is the one to go back to
                }
                continue;
            }
            std::uint32_t value = 0;
            std::memcpy(&value, window.data(), 4);
            // In this order: a record says nothing until its number is that of the pending exit.
            undo.gpa = gpa;
            undo.value = value;
            order_stores();
            undo.written_in = number;
            order_stores();
            return window.data();
        }
        return nullptr;
    }

  private:
    GuestMemory& memory_;
    GuestWordUndo (&undo_)[guest_word_undos];
    const Transaction& transaction_;
};

}  // namespace margay::vmm
