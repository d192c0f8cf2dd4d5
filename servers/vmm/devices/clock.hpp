#pragma once

#include <cstdint>

namespace margay::vmm {

/// The guest's time. Both counters are monotonic and start near 0 when the VM is created; they go on
/// across a restart of the VMM.
class Clock {
  public:
    /// Nanoseconds since the VM was created.
    [[nodiscard]] virtual std::uint64_t now_ns() = 0;

    /// The time-stamp counter as the guest's RDTSC reads it now.
    [[nodiscard]] virtual std::uint64_t tsc() = 0;

    /// The guest wrote TSC or TSC_ADJUST: add `delta` (modulo 2^64) to what its RDTSC returns.
    virtual void adjust_tsc(std::uint64_t delta) = 0;

  protected:
    ~Clock() = default;
};

/// "No timer armed". Greater than any time that is reached.
inline constexpr std::uint64_t no_deadline = ~std::uint64_t{0};

}  // namespace margay::vmm
