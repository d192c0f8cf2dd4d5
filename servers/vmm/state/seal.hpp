#pragma once

#include "servers/vmm/state/layout.hpp"
#include "servers/vmm/state/refusal.hpp"

/// Sections with the flag `constant` are never edited once the VM is made, so their slots have no use for undoing:
/// `saved` is a second copy, and `saved_in` a check sum of it, which no transaction has as its number. Whoever
/// attaches compares the copies, which costs one step per word; the sum is computed only if they differ.
namespace margay::vmm {

/// Make the second copies and the sums, of the sections that this build lays out.
void seal(RegionHalf& half, const Layout& layout) noexcept;

/// What has become of a half's sealed sections.
struct Seals {
    Refusal why;          ///< a section of which neither copy is what it was
    unsigned mended = 0;  ///< sections of which one copy was damaged
};

/// Check them and mend what can be mended. The directory of `half` has been checked.
[[nodiscard]] Seals check_seals(RegionHalf& half) noexcept;

}  // namespace margay::vmm
