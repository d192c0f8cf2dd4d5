#pragma once

#include <cstdint>

namespace margay::vmm {

/// The exit that is being handled. Its number is the kernel's sequence number of the exit, which is never
/// used again, and it commits when the kernel accepts the reply: the kernel then asks for the next number.
/// So nothing is written at commit. Number 0 is none: changes made then are not undone.
class Transaction {
  public:
    void begin(std::uint64_t number) noexcept { number_ = number; }
    [[nodiscard]] std::uint64_t number() const noexcept { return number_; }

  private:
    std::uint64_t number_ = 0;
};

}  // namespace margay::vmm
