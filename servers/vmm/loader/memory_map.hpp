#pragma once

#include "servers/vmm/loader/ram_layout.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace margay::vmm {

/// Numbers as in an E820 map, which Multiboot and PVH share.
enum class MemoryType : std::uint32_t { ram = 1, reserved = 2 };

struct MemoryRange {
    std::uint64_t start;
    std::uint64_t end;
    MemoryType type;
};

/// What a guest is told of its memory, sorted: no range is empty.
class MemoryMap {
  public:
    static constexpr std::size_t capacity = 4;

    explicit MemoryMap(const RamLayout& layout) noexcept {
        constexpr std::uint64_t mebibyte = 0x10'0000, page_mask = 0xfff;
        add(0, low_memory_end, MemoryType::ram);
        add(firmware_base, mebibyte, MemoryType::reserved);
        add(mebibyte, layout.low & ~page_mask, MemoryType::ram);
        add(RamLayout::high_base, (RamLayout::high_base + layout.high) & ~page_mask,
            MemoryType::ram);
    }

    static constexpr std::uint64_t low_memory_end = 0x9'fc00;
    static constexpr std::uint64_t firmware_base = 0xe'0000;

    [[nodiscard]] const MemoryRange* begin() const noexcept { return ranges_.data(); }
    [[nodiscard]] const MemoryRange* end() const noexcept { return ranges_.data() + count_; }
    [[nodiscard]] std::uint8_t size() const noexcept { return count_; }

  private:
    void add(std::uint64_t start, std::uint64_t end, MemoryType type) noexcept {
        if (start < end) {
            ranges_[count_++] = {start, end, type};
        }
    }

    std::array<MemoryRange, capacity> ranges_{};
    std::uint8_t count_ = 0;
};

}  // namespace margay::vmm
