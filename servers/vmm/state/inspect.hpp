#pragma once

#include "servers/vmm/state/layout.hpp"
#include "servers/vmm/state/refusal.hpp"

namespace margay::vmm {

/// What a build can do with a region that it finds.
enum class Finding : std::uint8_t {
    blank,    ///< no VM yet
    same,     ///< laid out as this build does it: to be used in place
    foreign,  ///< readable, but to be converted
    refused,  ///< see the refusal
};

struct Inspection {
    Finding finding;
    Refusal why;
};

/// Checks everything that attaching relies on and changes nothing. The region may hold any bytes.
[[nodiscard]] Inspection inspect(const Region& region, const Layout& layout);

/// Whether the half begins with exactly this layout; sections that are kept for others may follow.
[[nodiscard]] bool begins_with(const RegionHalf& half, const Layout& layout) noexcept;

}  // namespace margay::vmm
