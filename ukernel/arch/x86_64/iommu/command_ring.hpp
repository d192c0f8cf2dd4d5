// Commands in memory that a unit takes in order, round and round, up to the tail that it was told.
#pragma once
#include <atomic>
#include <cstdint>

#include "support/address.hpp"

namespace margay::iommu {

template <typename Command>
class CommandRing {
  public:
    static constexpr unsigned entries = 256;

    // at: entries commands, page-aligned, where `commands` is seen by the kernel.
    CommandRing(HostPhys at, Command* commands) : at_{at}, commands_{commands} {}

    HostPhys at() const { return at_; }
    // There is room for one more, which is to be waited for.
    bool is_full() const { return outstanding_ == entries - 2; }
    // The tail that the unit is to be told, in bytes.
    std::uint64_t put(const Command& c) {
        commands_[tail_] = c;
        tail_ = (tail_ + 1) % entries;
        ++outstanding_;
        std::atomic_thread_fence(std::memory_order_seq_cst);
        return tail_ * sizeof(Command);
    }
    // All that was put has been waited for, or will be.
    void expect_end() { outstanding_ = 0; }

  private:
    HostPhys at_;
    Command* commands_;
    unsigned tail_ = 0;
    unsigned outstanding_ = 0;
};

}  // namespace margay::iommu
