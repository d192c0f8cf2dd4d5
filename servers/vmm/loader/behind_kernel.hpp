#pragma once

#include "servers/vmm/loader/low_memory.hpp"

namespace margay::vmm {

struct ModulePlace {
    LoadError error;
    std::uint64_t address;  ///< 0: no module
};

/// Where the module of a kernel at [begin, end) goes: on the first page behind it, for kernels that map little of
/// memory. `low` is the size of RAM at 0. Or why they do not fit.
[[nodiscard]] constexpr ModulePlace place_behind(std::uint64_t begin, std::uint64_t end,
                                                 std::uint64_t size, std::uint64_t low) {
    if (begin < low_memory::end) {
        return {LoadError::kernel_too_low, 0};
    }
    if (end > low) {
        return {LoadError::kernel_does_not_fit, 0};
    }
    const auto address = align_up(end, 0x1000);
    if (size == 0) {
        return {LoadError::none, 0};
    }
    if (address > low || size > low - address) {
        return {LoadError::initrd_does_not_fit, 0};
    }
    return {LoadError::none, address};
}

}  // namespace margay::vmm
