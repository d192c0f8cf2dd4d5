// The derivation tree: making nodes and taking subtrees away. All under the capability lock.
#pragma once
#include "ukernel/object/map_target.hpp"
#include "ukernel/object/node.hpp"

namespace margay::derivation {

// Hangs a node below another one. `too_deep` or `bad_capability` (the parent is being revoked).
Status attach(Node& child, Node& parent);

// Undoes attach for a node without children.
void unlink(Node& node);

// Whether [base, base+size) overlaps a child that was carved out of the extent, through any copy.
bool overlaps_carved(const Node& extent, std::uint64_t base, std::uint64_t size);

enum class Progress { done, more };
// Removes everything derived from the slot (and the slot itself, if `self`), leaves first, up to a
// bounded amount of work. Ends with one TLB shootdown over the cores concerned, after which nothing
// removed can be used any more.
Progress revoke_step(CapSlot& slot, bool self);

}  // namespace margay::derivation
