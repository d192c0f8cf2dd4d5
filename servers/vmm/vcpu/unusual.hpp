#pragma once

#include "proto/vm_control.hpp"

#include <bit>
#include <cstdint>

namespace margay::vmm {

/// The vCPU stands still behind this exit until a PCI function is as its guest wants it.
enum class FunctionWait : std::uint8_t {
    none,
    begins,  ///< what is wanted is known when this exit is committed: the next one comes at once and asks for it
    goes_on,
};

/// What few exits leave behind, in one word: most find with one look that there is none of it.
struct alignas(8) Unusual {
    bool clock_adjusted = false;  ///< the TSC offset must reach the vCPU
    bool board_locked = false;    ///< see BoardLock
    std::uint8_t length = 0;      ///< of the instruction, where it is not what the kernel assumes
    FunctionWait function_wait = FunctionWait::none;
    VmOutcome outcome = VmOutcome::running;

    [[nodiscard]] bool any() const noexcept { return std::bit_cast<std::uint64_t>(*this) != 0; }
};
static_assert(sizeof(Unusual) == 8 && VmOutcome{} == VmOutcome::running);

}  // namespace margay::vmm
