// User-level memory of the simulated machine: what the page tables of a Domain map is visible at its
// address in this process. Pages appear when they are touched, as after a TLB miss, and stay until the
// tables are changed or flushed, as translations do.
#pragma once
#include <cstdint>

#include "support/address.hpp"

namespace margay::host_node::user_memory {

// From now on the tables at `root` decide.
void load(HostPhys root);
// Whatever was visible is not any more.
void flush();
// Makes the page visible; false if the tables do not allow the access: a page fault.
bool resolve(std::uint64_t address, bool write);

}  // namespace margay::host_node::user_memory
