// How often a vCPU exited, and how long its exits waited for their replies, by class. The kernel's own: no VMM can write it, and
// it lasts as long as the vCPU. Eight instructions for an exit and its reply (docs/decisions/0075-exit-counters.md).
#pragma once
#include <cstdint>

#include "proto/exit.hpp"
#include "proto/kernel.hpp"

namespace margay {

struct ExitCounters {
    std::uint64_t exits[exit_classes]{};
    // While an exit of the class waits for its reply, the TSC at which it came is taken off: the number is negative then, and
    // only then. In halves, the lower one first, as they are written.
    std::uint32_t ticks[exit_classes][2]{};
    // Those that no handler learns of, by KernelExit.
    std::uint64_t by_kernel[kernel_exits]{};
};

struct ExitsOfClass {
    std::uint64_t count = 0;
    std::uint64_t ticks = 0;  // from the exit to its reply; of one that waits, up to now
};

}  // namespace margay
