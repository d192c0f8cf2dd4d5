#include "ukernel/memory/boot_allocator.hpp"

#include "ukernel/debug/assert.hpp"
#include "ukernel/memory/direct_map.hpp"

namespace margay::boot_allocator {

namespace {
HostPhys next, limit;
}

void init(HostPhys begin, HostPhys end) {
    next = begin;
    limit = end;
}

HostPhys allocate(std::uint64_t bytes) {
    bytes = align_up(bytes, 4096);
    MARGAY_EXPECT(next + bytes <= limit);
    const HostPhys result = next;
    next = next + bytes;
    auto* words = direct<std::uint64_t>(result);
    for (std::uint64_t i = 0; i < bytes / 8; ++i) words[i] = 0;
    return result;
}

std::uint64_t left() { return limit - next; }

HostPhys finish() {
    limit = next;
    return next;
}

}  // namespace margay::boot_allocator
