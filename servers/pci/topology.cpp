#include "servers/pci/topology.hpp"

#include <bitset>

namespace margay::pci {

namespace {

// Types of ports (§7.5.3.2).
constexpr unsigned root_port = 4, switch_upstream = 5, switch_downstream = 6;
// 0, which is no port's, if it is none of PCI Express.
unsigned port_type(Config& config, const Function& f) {
    if (!f.is_bridge || f.capabilities.express == 0) return 0;
    return config.read(f.address, f.capabilities.express) >> 20 & 0xf;
}
// Those that have a bus of their own below them.
bool is_downstream(unsigned type) { return type == root_port || type == switch_downstream; }

}  // namespace

void Topology::scan(Config& config) {
    count_ = left_out_ = 0;
    std::bitset<256> seen;
    seen[0] = true;
    scan_bus(config, 0, no_parent);
    // Each bus once, whatever bridges say: a tree ends.
    for (unsigned i = 0; i < count_; ++i) {
        const Function& f = entries_[i].function;
        if (!f.is_bridge || f.secondary <= f.address.bus || f.secondary > f.subordinate ||
            seen[f.secondary])
            continue;
        seen[f.secondary] = true;
        scan_bus(config, f.secondary, i);
    }
    find_groups();
    find_resets();
}

void Topology::scan_bus(Config& config, std::uint8_t bus, unsigned parent) {
    // Below a port there is one device; others would be the same one again.
    const unsigned port =
        parent != no_parent ? port_type(config, entries_[parent].function) : root_port;
    const bool one = parent != no_parent && is_downstream(port);
    const bool is_hidden = (parent != no_parent && entries_[parent].is_hidden) ||
                           (!is_downstream(port) && port != switch_upstream);
    for (unsigned device = 0; device < (one ? 1 : devices_per_bus); ++device) {
        unsigned functions = 1;
        for (unsigned number = 0; number < functions; ++number) {
            const Address a{bus, static_cast<std::uint8_t>(device),
                            static_cast<std::uint8_t>(number)};
            Function f;
            const bool is_there = read_function(config, a, f);
            config.settle();
            if (!is_there) continue;
            if (number == 0 && f.multifunction) functions = functions_per_device;
            if (count_ == most)
                ++left_out_;
            else
                entries_[count_] = {f, parent, is_hidden, count_, Reset::none}, ++count_;
        }
    }
}

// Functions of a device can talk to each other unless each says that it does not; what is behind a bridge can talk to all
// that is behind it unless the bridge is a port that sends everything up.
void Topology::find_groups() {
    const auto join = [this](unsigned a, unsigned b) {
        const unsigned from = entries_[a].group, to = entries_[b].group;
        for (unsigned i = 0; i < count_; ++i)
            if (entries_[i].group == from) entries_[i].group = to;
    };
    for (unsigned i = 0; i < count_; ++i) {
        const Entry& e = entries_[i];
        if (e.parent != no_parent && !entries_[e.parent].function.isolates) join(i, e.parent);
        for (unsigned k = 0; k < i; ++k) {
            const Function &f = e.function, &g = entries_[k].function;
            if (f.address.bus == g.address.bus && f.address.device == g.address.device &&
                (!f.isolates || !g.isolates))
                join(i, k);
        }
    }
}

bool Topology::is_alone_on_bus(unsigned index) const {
    for (unsigned i = 0; i < count_; ++i)
        if (i != index && entries_[i].parent == entries_[index].parent) return false;
    return true;
}

void Topology::find_resets() {
    for (unsigned i = 0; i < count_; ++i) {
        Entry& e = entries_[i];
        if (e.function.function_level_reset)
            e.reset = Reset::function;
        else if (e.parent != no_parent && !e.function.is_bridge && is_alone_on_bus(i))
            e.reset = Reset::bus;
    }
}

unsigned Topology::find(Address a) const {
    unsigned i = 0;
    while (i < count_ && !(entries_[i].function.address == a)) ++i;
    return i;
}

}  // namespace margay::pci
