#include "ukernel/tree/derivation.hpp"

namespace margay::derivation {

Status can_attach(const Node& parent) {
    if (parent.depth + 1u > max_derivation_depth) return Status::too_deep;
    // Nobody can take away an ancestor while there is something below it.
    for (const Node* n = &parent; n != nullptr; n = n->parent)
        if (n->removal != Removal::none || __atomic_load_n(&n->revoking, __ATOMIC_ACQUIRE))
            return Status::bad_capability;
    return Status::ok;
}

void attach(Node& child, Node& parent) {
    child.depth = static_cast<std::uint8_t>(parent.depth + 1);
    child.estate = parent.estate;
    parent.children.push_back(child);
    __atomic_store_n(&child.parent, &parent, __ATOMIC_RELEASE);
}

void unlink(Node& n) {
    n.parent->children.erase(n.parent->children.iterator_to(n));
    __atomic_store_n(&n.parent, nullptr, __ATOMIC_RELEASE);
}

void bind(Binding& binding, CapSlot& capability) {
    unbind(binding);
    attach(binding, capability);
}

void unbind(Binding& binding) {
    if (binding.is_bound()) unlink(binding);
}

bool overlaps_carved(CapSlot& extent, std::uint64_t base, std::uint64_t size) {
    CapSlot::Carved& carved = static_cast<CapSlot&>(extent_root(extent)).carved;
    // They are disjoint: only the last one that begins before the end can reach into the range.
    struct Below {
        bool operator()(const CapSlot& s, std::uint64_t end) const { return s.base < end; }
        bool operator()(std::uint64_t end, const CapSlot& s) const { return end < s.base; }
    };
    auto at = carved.lower_bound(base + size, Below{});
    if (at == carved.begin()) return false;
    --at;
    return at->base + at->size > base;
}

}  // namespace margay::derivation
