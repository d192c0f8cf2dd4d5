#pragma once

#include "servers/vmm/state/convert.hpp"
#include "servers/vmm/state/exit_numbers.hpp"
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

/// Make the region that a VM left behind this build's to work on. `exits`: of the vCPUs that may have changed
/// it. A blank region stays blank; one that is refused for its structure is not touched. May be cut off anywhere
/// and done again.
[[nodiscard]] Attachment attach(Region& region, const Layout& layout, StateDefaults& defaults,
                                std::span<const ExitNumbers> exits, GuestMemory& memory);

/// The same for vCPU 0 alone. `pending`: sequence number of the exit that waits for its handler, or 0; `last`: of
/// the last exit.
[[nodiscard]] inline Attachment attach(Region& region, const Layout& layout,
                                       StateDefaults& defaults, std::uint64_t pending,
                                       GuestMemory& memory,
                                       std::uint64_t last = (1ULL << cpu_shift) - 1) {
    const ExitNumbers exits{pending, last};
    return attach(region, layout, defaults, {&exits, 1}, memory);
}

}  // namespace margay::vmm
