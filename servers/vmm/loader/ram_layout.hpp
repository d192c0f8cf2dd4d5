#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace margay::vmm {

/// Guest-physical addresses of RAM. The VMM sees RAM as one extent; its first part is at guest-physical 0, and
/// what exceeds the low limit continues at 4 GiB, above the devices. The legacy hole 0xa0000..0xfffff is
/// RAM too (so that one large page covers it), but no RAM in the guest's memory map.
struct RamLayout {
    static constexpr std::uint64_t low_limit = 0xc000'0000;  ///< 3 GiB
    static constexpr std::uint64_t high_base = 0x1'0000'0000;

    std::uint64_t low;   ///< bytes at 0
    std::uint64_t high;  ///< bytes at 4 GiB; they follow the low part in the extent

    [[nodiscard]] static constexpr RamLayout make(std::uint64_t size) noexcept {
        const auto low = std::min(size, low_limit);
        return {low, size - low};
    }
};

}  // namespace margay::vmm
