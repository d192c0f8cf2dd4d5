#pragma once

#include <cstdint>
#include <span>

namespace margay::vmm {

/// vCPUs that a VM can have.
inline constexpr unsigned max_cpus = 64;

/// The number of a transaction: the exit's sequence number and, above it, its vCPU. Of vCPU 0, and so of every VM
/// that has one, it is the sequence number.
inline constexpr unsigned cpu_shift = 56;
[[nodiscard]] constexpr std::uint64_t transaction_number(unsigned cpu,
                                                         std::uint64_t sequence) noexcept {
    return sequence | std::uint64_t{cpu} << cpu_shift;
}

/// Of one vCPU, as transaction numbers.
struct ExitNumbers {
    std::uint64_t
        pending;  ///< of the exit that waits for its answer and is not done: it is undone. 0: none
    std::uint64_t last;  ///< of its last exit
};

/// No exit of that vCPU has been that far.
[[nodiscard]] constexpr bool is_ahead(std::uint64_t number,
                                      std::span<const ExitNumbers> exits) noexcept {
    for (const auto& e : exits) {
        if (number >> cpu_shift == e.last >> cpu_shift) {
            return number > e.last;
        }
    }
    return number != 0;
}

}  // namespace margay::vmm
