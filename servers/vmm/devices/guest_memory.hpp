#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace margay::vmm {

/// Access to the guest's RAM by guest-physical address.
class GuestMemory {
  public:
    /// `length` bytes at `gpa`, contiguous in the VMM's address space; an empty span if any byte of it is
    /// not RAM.
    [[nodiscard]] virtual std::span<std::byte> window(std::uint64_t gpa, std::size_t length) = 0;

  protected:
    ~GuestMemory() = default;
};

}  // namespace margay::vmm
