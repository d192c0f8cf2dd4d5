// The derivation tree: making nodes, under the locks of the estates concerned. Taking subtrees away:
// object/revocation.hpp.
#pragma once
#include "ukernel/tree/node.hpp"

namespace margay::derivation {

// Whether something may be hung below a node. `too_deep`, or `bad_capability`: it is being revoked, or is
// gone. A revocation of something above it, in another estate, can begin right after; it will find what
// is attached then.
Status can_attach(const Node& parent);
// Hangs a node below another one, in that one's estate.
void attach(Node& child, Node& parent);

// Undoes attach for a node without children.
void unlink(Node& node);

// Makes a binding through `capability`, instead of the one it was made through before. Needs the locks of
// both. What the binding means is the caller's to write, on the right core.
void bind(Binding& binding, CapSlot& capability);
void unbind(Binding& binding);
// The estate whose lock is needed to change the binding: that of the capability it was made through, or
// `otherwise`.
inline Estate estate_of(const Binding& b, Estate otherwise) {
    return b.is_bound() ? b.estate : otherwise;
}

// Whether [base, base+size) overlaps something that was carved out of the extent, through any copy.
bool overlaps_carved(CapSlot& extent, std::uint64_t base, std::uint64_t size);

}  // namespace margay::derivation
