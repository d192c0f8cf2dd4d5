// Frames for what the kernel needs for ever: per-core data, its own page tables. Only while it starts;
// what is left becomes free RAM of init.
#pragma once
#include <cstdint>

#include "support/address.hpp"

namespace margay::boot_allocator {

// The range it may take from (RAM, page-aligned).
void init(HostPhys begin, HostPhys end);
// Zeroed, page-aligned, physically contiguous. Panics when the range is exhausted: the node cannot
// start without.
HostPhys allocate(std::uint64_t bytes);
// Bytes that it can still give.
std::uint64_t left();
// The end of what was taken; later calls to allocate() are errors.
HostPhys finish();

}  // namespace margay::boot_allocator
