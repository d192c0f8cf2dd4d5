// Memory from pmem.
#pragma once
#include "libipc/system_call.hpp"
#include "proto/pmem.hpp"

namespace margay {

struct Extent {
    Slot slot = no_slot;
    std::uint64_t base = 0;  // host-physical
    std::uint64_t size = 0;
};

struct MemoryUse {
    std::uint64_t free = 0, largest = 0, used = 0, extents = 0, dirty = 0;
};

}  // namespace margay
