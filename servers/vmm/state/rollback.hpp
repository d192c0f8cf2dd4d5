#pragma once

#include "servers/vmm/devices/guest_memory.hpp"
#include "servers/vmm/state/region.hpp"

namespace margay::vmm {

/// Undo what the exit numbered `sequence`, not 0, changed before its handler died. Doing it again, or for the
/// second time after it was cut off anywhere, changes nothing more. The region has been inspected. False:
/// there was nothing to undo.
bool roll_back(Region& region, std::uint64_t sequence, GuestMemory& memory) noexcept;

}  // namespace margay::vmm
