#pragma once

#include "servers/vmm/state/exit_numbers.hpp"
#include "servers/vmm/state/layout.hpp"
#include "servers/vmm/state/refusal.hpp"

namespace margay::vmm {

/// What fields are that a region does not have.
class StateDefaults {
  public:
    /// Write the live parts of all sections of `half`, which has this build's layout. The first section has
    /// been read from the region, and the others may depend on it; in a new VM it is all zero.
    virtual void reset(RegionHalf& half) = 0;
    /// Whether the devices can go on with the values of `half`, which has this build's layout. `exits`:
    /// those that are to be undone in it.
    [[nodiscard]] virtual Refusal check(const RegionHalf&, std::span<const ExitNumbers> /*exits*/) {
        return {};
    }

  protected:
    ~StateDefaults() = default;
};

/// Whether the other half can hold this build's layout and all that must be kept of `half`, an active half
/// that has been checked.
[[nodiscard]] bool has_room(const RegionHalf& half, const Layout& layout) noexcept;

/// Make a new VM's region. It is blank until the last store.
void create(Region& region, const Layout& layout, StateDefaults& defaults);

/// Lay the state out in the other half as this build does it, and, if it is sound, make that half active with
/// the last store.
/// Fields go by name; what this build does not know is kept as it is. The region has been inspected and
/// rolled back: what was saved for undoing does not come along.
[[nodiscard]] Refusal convert(Region& region, const Layout& layout, StateDefaults& defaults);

}  // namespace margay::vmm
