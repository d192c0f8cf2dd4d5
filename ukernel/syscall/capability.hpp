// Looking capabilities up and putting them into slots.
#pragma once
#include "support/result.hpp"
#include "ukernel/object/domain.hpp"

namespace margay {

struct Thread;

// The capability in a slot of t's table, of that type (none: any), with all of the rights. Without the
// capability lock only for portals and events (see derivation.cpp).
Result<CapSlot*> find_capability(const Thread& t, std::uint64_t slot, ObjectType type,
                                 std::uint8_t rights);
// An empty slot of a table; `occupied` if it is not.
Result<CapSlot*> find_empty(Domain& domain, std::uint64_t slot);

// Under the lock: fills an empty slot with a capability to a new object, derived from `parent`.
Status place_object(CapSlot& slot, Domain& in, ObjectType type, void* object, Node& parent);
// Under the lock: a copy with at most the source's rights. `badge`: given to an unbadged portal
// capability, or the mask of bits that a copy of an unmasked event capability may signal; 0: as the
// source. `occupied`, `no_right`, `too_deep` and `bad_argument` leave everything as it was.
Status copy_capability(CapSlot& source, Domain& to, CapSlot& destination, std::uint8_t rights,
                       std::uint64_t badge);

}  // namespace margay
