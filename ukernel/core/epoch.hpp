// When storage may be used again, and when a translation is gone from every TLB.
//
// What a core finds through a capability or through an object stays where it is for as long as that core
// stays in the kernel with interrupts off: finding pins. Whoever takes something away
//   1. makes it unreachable (the slot's type is cleared, its pointer is left),
//   2. waits here, until each core that may have found it has passed a point at which it held nothing,
//   3. and only then takes the object apart and hands its storage back.
// There is no other rule about lifetimes.
//
// A core passes such a point on its way out of the kernel, while it waits for an EstateLock (before it
// has looked anything up), and while it waits here itself: what it still holds then is what its own
// EstateLock protects. While it waits for work on another core (run_on) it does not pass.
#pragma once
#include "ukernel/core/core_set.hpp"

namespace margay::epoch {

// This core holds nothing that it has found.
void pass();

// Waits until the cores of the set (this one excepted) have passed such a point after the call. `flush`:
// they have also dropped all translations of native address spaces, and left the guest they were in.
void wait(const CoreSet& cores, bool flush);

// Only the latter; this core goes on holding what it has found.
void flush_translations(const CoreSet& cores);

}  // namespace margay::epoch
