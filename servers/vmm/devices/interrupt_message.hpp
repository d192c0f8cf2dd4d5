#pragma once

#include <cstdint>

namespace margay::vmm {

/// What a function writes, and where, to interrupt.
struct InterruptMessage {
    std::uint64_t address;
    std::uint32_t data;
};

}  // namespace margay::vmm
