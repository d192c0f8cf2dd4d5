#pragma once

#include "servers/vmm/state/transaction.hpp"

#include <atomic>
#include <cstdint>

namespace margay::vmm {

/// One transaction's hold on what the vCPUs of a VM share. The lock word lies in memory that outlives the VMM and
/// names the holder's transaction: at most one that has changed something shared is not committed, and a successor
/// undoes that one and frees the lock. It is taken when the transaction first needs it and let go when its answer
/// is written down (AnswerState).
class BoardLock {
  public:
    /// `word` null: the VM has one vCPU, and there is nothing to lock.
    /// `is_held` is where it says whether it is.
    BoardLock(std::uint64_t* word, const Transaction& transaction, bool& is_held) noexcept
        : word_{word}, transaction_{transaction}, is_held_{is_held} {}
    BoardLock(const BoardLock&) = delete;
    BoardLock& operator=(const BoardLock&) = delete;

    /// To be called before anything shared is looked at. True: it was taken just now.
    [[gnu::always_inline]] bool need() noexcept {
        if (word_ == nullptr || is_held_) [[likely]] {
            return false;
        }
        take();
        return true;
    }
    [[nodiscard]] bool is_held() const noexcept { return is_held_; }
    void release() noexcept {
        is_held_ = false;
        std::atomic_ref{*word_}.store(0, std::memory_order_release);
    }

  private:
    [[gnu::noinline]] void take() noexcept {
        const std::atomic_ref word{*word_};
        for (std::uint64_t nobody = 0;
             !word.compare_exchange_weak(nobody, transaction_.number(), std::memory_order_acquire);
             nobody = 0) {
            while (word.load(std::memory_order_relaxed) != 0) __builtin_ia32_pause();
        }
        is_held_ = true;
    }

    std::uint64_t* word_;
    const Transaction& transaction_;
    bool& is_held_;
};

}  // namespace margay::vmm
