#pragma once

#include "servers/vmm/state/convert.hpp"
#include "servers/vmm/state/inspect.hpp"
#include "servers/vmm/state/rollback.hpp"

namespace margay::vmm {

/// What became of attaching.
struct Attachment {
    Finding finding;      ///< of the region as it was found
    bool rolled_back;     ///< an exit was half handled
    Refusal why;          ///< if it was refused
    unsigned mended = 0;  ///< sections of which one copy was damaged
};

/// Make the region that a VM left behind this build's to work on. `pending`: sequence number of the exit
/// that waits for its handler, or 0; `last`: of the last exit. A blank region stays blank; one that is refused
/// for its structure is not touched. May be cut off anywhere and done again.
[[nodiscard]] Attachment attach(Region& region, const Layout& layout, StateDefaults& defaults,
                                std::uint64_t pending, GuestMemory& memory,
                                std::uint64_t last = ~std::uint64_t{0} >> 1);

}  // namespace margay::vmm
