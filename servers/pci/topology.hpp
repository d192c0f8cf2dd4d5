// All functions of the machine, which of them can only be given together, and how each can be reset.
#pragma once
#include "servers/pci/function.hpp"

namespace margay::pci {

class Topology {
  public:
    static constexpr unsigned most = 256;
    static constexpr unsigned no_parent = ~0u;

    struct Entry {
        Function function;
        unsigned parent = no_parent;  // the bridge above it, as an index; none: it is on a root bus
        bool is_hidden = false;  // a bridge of conventional PCI sends its requests on as its own
        // Functions with the same number can reach each other without the IOMMU, or share one requester id: they belong
        // to one owner. The number is the index of one of them.
        unsigned group = 0;
        Reset reset = Reset::none;
    };

    // Looks at bus 0 and at what bridges lead to. Numbers of buses that cannot be are not followed.
    void scan(Config& config);

    unsigned count() const { return count_; }
    const Entry& operator[](unsigned i) const { return entries_[i]; }
    // More than there is room for.
    unsigned left_out() const { return left_out_; }

    // The index of a function, or count().
    unsigned find(Address a) const;
    // Others of the same group.
    template <typename F>
    void for_each_companion(unsigned index, F f) const {
        for (unsigned i = 0; i < count_; ++i)
            if (i != index && entries_[i].group == entries_[index].group) f(entries_[i]);
    }

  private:
    void scan_bus(Config& config, std::uint8_t bus, unsigned parent);
    void find_groups();
    void find_resets();
    bool is_alone_on_bus(unsigned index) const;

    Entry entries_[most];
    unsigned count_ = 0;
    unsigned left_out_ = 0;
};

}  // namespace margay::pci
