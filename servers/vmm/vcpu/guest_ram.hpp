// Guest RAM as the VMM sees it: one mapping; guest-physical addresses by RamLayout.
#pragma once
#include <cstddef>
#include <span>

#include "servers/vmm/devices/guest_memory.hpp"
#include "servers/vmm/loader/ram_layout.hpp"

namespace margay::vmm {

class GuestRam final : public GuestMemory {
  public:
    GuestRam(std::byte* base, std::uint64_t bytes)
        : base_{base}, bytes_{bytes}, layout_{RamLayout::make(bytes)} {}

    std::span<std::byte> window(std::uint64_t gpa, std::size_t length) override {
        if (gpa < layout_.low && length <= layout_.low - gpa) return {base_ + gpa, length};
        const std::uint64_t high = gpa - RamLayout::high_base;
        if (gpa >= RamLayout::high_base && high < layout_.high && length <= layout_.high - high)
            return {base_ + layout_.low + high, length};
        return {};
    }
    std::span<std::byte> all() { return {base_, bytes_}; }

  private:
    std::byte* base_;
    std::uint64_t bytes_;
    RamLayout layout_;
};

}  // namespace margay::vmm
