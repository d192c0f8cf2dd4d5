// Ready budgets of one core: fixed priorities, round robin within one.
#pragma once
#include <bit>

#include "proto/kernel.hpp"
#include "ukernel/core/budget.hpp"

namespace margay {

class RunQueue {
  public:
    using List = bi::list<Budget, bi::constant_time_size<false>>;

    void push_back(Budget& b) {
        b.begin_wait();
        lists_[b.priority].push_back(b);
        ready_ |= 1ull << b.priority;
    }
    // A budget that was interrupted, not finished, goes on first.
    void push_front(Budget& b) {
        b.begin_wait();
        lists_[b.priority].push_front(b);
        ready_ |= 1ull << b.priority;
    }
    void remove(Budget& b) {
        if (!b.is_queued()) return;
        b.end_wait();
        b.unlink();
        if (lists_[b.priority].empty()) ready_ &= ~(1ull << b.priority);
    }
    // The first of the highest priority, removed; null if none is ready.
    Budget* pop() {
        if (ready_ == 0) return nullptr;
        Budget& b = lists_[highest()].front();
        remove(b);
        return &b;
    }
    // Highest ready priority, or -1.
    int highest() const { return ready_ == 0 ? -1 : 63 - std::countl_zero(ready_); }
    bool has(unsigned priority) const { return (ready_ >> priority & 1) != 0; }

  private:
    List lists_[priorities];
    std::uint64_t ready_ = 0;
};

}  // namespace margay
