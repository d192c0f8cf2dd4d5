#pragma once

#include "servers/vmm/devices/apic_bus.hpp"
#include "servers/vmm/devices/inbox_state.hpp"

#include <cstdint>

namespace margay::vmm {

/// A vCPU's inbox: see InboxState. A message that is sent twice before it is taken arrives once, as in the
/// request register of a local APIC.
class Inbox {
  public:
    explicit Inbox(InboxState& state) noexcept : state_{state} {}

    /// From any vCPU's thread. The receiver is still to be woken.
    void post(const ApicMessage& message) noexcept;
    /// The same of a kick (see KvmCallTargets).
    void kick() noexcept;

    [[nodiscard]] bool is_empty() const noexcept;

    /// By the receiver, in transaction `number`: `receive` gets each message, INIT before start-up. What was
    /// taken is written down first, so that nothing is lost if the transaction is not committed. True: a kick was
    /// among it.
    template <typename Receive>
    [[nodiscard]] bool take(std::uint64_t number, Receive receive) noexcept {
        if (is_empty()) {
            return false;
        }
        empty_into_taken(number);
        for (unsigned word = 0; word < 4; ++word) {
            for (auto left = state_.taken_requests[word]; left != 0; left &= left - 1) {
                const auto vector = static_cast<std::uint8_t>(
                    word * 64 + static_cast<unsigned>(__builtin_ctzll(left)));
                const bool level = (state_.taken_level[word] & left & -left) != 0;
                receive(ApicMessage{0, vector, DeliveryMode::fixed, false, level});
            }
        }
        const auto signals = state_.taken_signals;
        if ((signals & nmi) != 0) {
            receive(ApicMessage{0, 0, DeliveryMode::nmi, false, false});
        }
        if ((signals & init) != 0) {
            receive(ApicMessage{0, 0, DeliveryMode::init, false, false});
        }
        if ((signals & startup) != 0) {
            receive(ApicMessage{0, static_cast<std::uint8_t>(signals >> vector_shift),
                                DeliveryMode::startup, false, false});
        }
        return (signals & kicked) != 0;
    }

    /// While no thread of a VMM runs: transaction `number` is undone.
    void put_back(std::uint64_t number) noexcept;

  private:
    static constexpr std::uint64_t nmi = 1, init = 2, startup = 4, kicked = 8;
    static constexpr unsigned vector_shift = 8;

    void empty_into_taken(std::uint64_t number) noexcept;

    InboxState& state_;
};

}  // namespace margay::vmm
