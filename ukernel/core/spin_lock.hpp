// A fair lock for a few dozen instructions. Whoever holds one waits for nobody: no work on another core, no
// grace period, no second one of these.
#pragma once
#include <atomic>
#include <cstdint>

#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/core/measure.hpp"

namespace margay {

class SpinLock {
  public:
    void lock() {
        const std::uint32_t mine = next_.fetch_add(1, std::memory_order_relaxed);
        while (serving_.load(std::memory_order_acquire) != mine) measure::pause();
    }
    void unlock() {
        serving_.store(serving_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }

  private:
    std::atomic<std::uint32_t> next_{0}, serving_{0};
};

class SpinGuard {
  public:
    explicit SpinGuard(SpinLock& lock) : lock_{lock} {
        lock_.lock();
        hold_.begin();
    }
    ~SpinGuard() {
        hold_.end_of_guard();
        lock_.unlock();
    }
    SpinGuard(const SpinGuard&) = delete;
    SpinGuard& operator=(const SpinGuard&) = delete;

  private:
    SpinLock& lock_;
    [[no_unique_address]] measure::Hold hold_;
};

}  // namespace margay
