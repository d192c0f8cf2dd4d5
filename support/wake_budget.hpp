// How often a server lets itself be woken by those whom it serves. Whoever signals it without end costs it no more than
// that: it pauses, and takes in one turn what was signalled meanwhile. Pure logic.
#pragma once
#include <cstdint>

namespace margay {

class WakeBudget {
  public:
    // Ticks. In each interval `count` wakes are answered at once; after that it pauses behind each.
    WakeBudget(std::uint64_t interval, unsigned count, std::uint64_t pause)
        : interval_{interval}, pause_{pause}, count_{count} {}

    // It was woken by its clients alone. Until when it pauses (ticks); 0: it does not.
    std::uint64_t woken(std::uint64_t now) {
        if (used_ == 0 || now - since_ >= interval_) {
            since_ = now;
            used_ = 0;
        }
        if (used_ < count_) {
            ++used_;
            return 0;
        }
        return now + pause_;
    }

  private:
    std::uint64_t interval_, pause_, since_ = 0;
    unsigned count_, used_ = 0;
};

}  // namespace margay
