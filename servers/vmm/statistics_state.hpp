#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

/// A section of the next state version that others may do without.
struct StatisticsState {
    std::uint64_t takeovers;  ///< how often a VMM that knows this section took the VM over
};

MARGAY_STATE(StatisticsState, "statistics", 1, 1, 0, takeovers);

}  // namespace margay::vmm
