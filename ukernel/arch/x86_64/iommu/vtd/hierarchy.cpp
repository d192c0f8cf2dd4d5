#include "ukernel/arch/x86_64/iommu/vtd/hierarchy.hpp"

namespace margay::iommu {

void Hierarchy::clear() {
    for (Bus& b : buses_) b = {};
}

bool Hierarchy::begin(std::uint8_t bus, bool can_be_first) {
    Bus& b = buses_[bus];
    // A first bus in the middle of what a bridge has is neither the one nor the other.
    if (can_be_first && b.within == 0) b.exists = true;
    return b.exists;
}

// Whether all that it wants is its own bus's bridge's, and no other bridge's yet.
bool Hierarchy::is_free(const Bridge& b) const {
    const auto own = static_cast<std::uint8_t>(b.self >> 8);
    const std::uint8_t within = buses_[own].has_bridge ? own : 0;
    if (b.secondary <= own || b.subordinate < b.secondary) return false;
    for (unsigned bus = b.secondary; bus <= b.subordinate; ++bus)
        if (buses_[bus].within != within) return false;
    return true;
}

void Hierarchy::add(const Bridge& b) {
    // Firmware did not use it: it leads nowhere.
    if (b.secondary == 0) return;
    if (!is_free(b)) {
        // Nobody knows who of them gets there.
        for (unsigned bus = b.secondary; bus <= b.subordinate; ++bus) buses_[bus].is_hidden = true;
        buses_[b.secondary].is_hidden = true;
        return;
    }
    for (unsigned bus = b.secondary; bus <= b.subordinate; ++bus) buses_[bus].within = b.secondary;
    Bus& behind = buses_[b.secondary];
    behind.exists = behind.has_bridge = true;
    behind.bridge = b.self;
    behind.last = b.subordinate;
    behind.has_one_device = b.leads_to_one;
    if (!b.is_transparent) behind.is_hidden = true;
}

void Hierarchy::finish() {
    // Above comes before below.
    for (Bus& b : buses_)
        if (!b.exists || (b.has_bridge && buses_[b.bridge >> 8].is_hidden)) b.is_hidden = true;
}

bool Hierarchy::buses_behind(Requester bridge, Buses& behind) const {
    for (unsigned bus = 0; bus < bus_count; ++bus) {
        if (!buses_[bus].has_bridge || buses_[bus].bridge != bridge) continue;
        behind = {static_cast<std::uint8_t>(bus), buses_[bus].last};
        return true;
    }
    return false;
}

bool Hierarchy::resolve(std::uint8_t start_bus, const std::uint8_t* hops, unsigned hop_count,
                        Requester& function) const {
    if (hop_count == 0) return false;
    Requester r = static_cast<Requester>(start_bus << 8 | hops[0]);
    for (unsigned i = 1; i < hop_count; ++i) {
        Buses behind{};
        if (!buses_behind(r, behind)) return false;
        r = static_cast<Requester>(behind.first << 8 | hops[i]);
    }
    function = r;
    return true;
}

}  // namespace margay::iommu
