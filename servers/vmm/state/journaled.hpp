#pragma once

#include "servers/vmm/state/copy_words.hpp"
#include "servers/vmm/state/order.hpp"
#include "servers/vmm/state/slot.hpp"
#include "servers/vmm/state/transaction.hpp"

namespace margay::vmm {

/// A device's hold on its state. It can be read freely and changed only through edit(), so no device can
/// change state that a rollback would not restore.
template <typename T>
class Journaled {
  public:
    Journaled(StateSlot<T>& slot, const Transaction& transaction) noexcept
        : slot_{&slot}, transaction_{&transaction} {}

    [[nodiscard]] const T& operator*() const noexcept { return slot_->live; }
    [[nodiscard]] const T* operator->() const noexcept { return &slot_->live; }

    /// The state, to be changed. The first call of a transaction saves it. Take the reference once where it
    /// is changed often; it is good until the transaction ends.
    [[nodiscard, gnu::always_inline]] T& edit() noexcept {
#if !MARGAY_WITHOUT_JOURNAL  // such a VMM cannot be restarted: it shows what the journal costs
        const std::uint64_t number = transaction_->number();
        if (slot_->saved_in != number) [[unlikely]] {
            // Until saved_in says otherwise `saved` belongs to a committed transaction and is not used.
            copy_words<sizeof(T)>(&slot_->saved, &slot_->live);
            order_stores();
            slot_->saved_in = number;
            order_stores();
        }
#endif
        return slot_->live;
    }

    /// Whether this transaction has changed it. True where nothing would tell.
    [[nodiscard]] bool is_edited() const noexcept {
#if MARGAY_WITHOUT_JOURNAL
        return true;
#else
        return slot_->saved_in == transaction_->number();
#endif
    }

    /// The state as it was before this transaction.
    [[nodiscard]] const T& committed() const noexcept {
        const std::uint64_t number = transaction_->number();
        return number != 0 && slot_->saved_in == number ? slot_->saved : slot_->live;
    }

  private:
    StateSlot<T>* slot_;
    const Transaction* transaction_;
};

}  // namespace margay::vmm
