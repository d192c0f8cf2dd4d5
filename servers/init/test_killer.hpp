// When a test's VM loses its VMM: intervals that follow from a seed. Pure logic.
#pragma once
#include <cstdint>

namespace margay::init {

class TestKiller {
  public:
    // mean: ticks between two deaths, each half to one and a half of it; 0: never.
    void configure(std::uint64_t mean, std::uint64_t seed) {
        mean_ = mean;
        random_ = seed;
        if (mean == 0) stop();
    }
    void schedule(std::uint64_t now) {
        if (mean_ == 0) return;
        // xorshift64
        random_ |= random_ == 0;
        random_ ^= random_ << 13;
        random_ ^= random_ >> 7;
        random_ ^= random_ << 17;
        next_ = now + mean_ / 2 + random_ % (mean_ + 1);
    }
    void stop() { next_ = ~0ull; }
    std::uint64_t next() const { return next_; }

  private:
    std::uint64_t mean_ = 0, random_ = 0, next_ = ~0ull;
};

}  // namespace margay::init
