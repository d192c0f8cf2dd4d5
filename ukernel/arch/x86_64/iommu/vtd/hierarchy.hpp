// The buses of PCI segment 0 as firmware has numbered them: what a scope's path leads to, and whose requests a bridge sends
// on under another name (PCI Express base specification 5.0 §7.5.1.3, PCI Express to PCI bridge specification 1.0 §2.3).
// Bridges are believed only as far as they fit each other.
#pragma once
#include <cstdint>

#include "ukernel/arch/x86_64/iommu/requester.hpp"

namespace margay::iommu {

class BusSet {
  public:
    void add(std::uint8_t bus) { words_[bus / 64] |= 1ull << bus % 64; }
    bool has(std::uint8_t bus) const { return (words_[bus / 64] >> bus % 64 & 1) != 0; }

  private:
    std::uint64_t words_[4] = {};
};

class Hierarchy {
  public:
    static constexpr unsigned bus_count = 256;

    // What a function with the header of a bridge says.
    struct Bridge {
        Requester self;
        std::uint8_t secondary, subordinate;
        // Requests from below keep their names: it is a PCI Express port above PCI Express.
        bool is_transparent;
        // There is one device below it; others would be the same one again.
        bool leads_to_one;
    };
    struct Buses {
        std::uint8_t first, last;
    };

    // Whether functions of the bus can be found: it is behind a bridge, or is one of the first buses.
    bool exists(std::uint8_t bus) const { return buses_[bus].exists; }
    // Whether somebody is above the bus, and who.
    bool is_behind_bridge(std::uint8_t bus) const { return buses_[bus].has_bridge; }
    Requester bridge_above(std::uint8_t bus) const { return buses_[bus].bridge; }
    // Whether requests of the function do not reach an IOMMU under its name, or nobody knows.
    bool is_hidden(Requester r) const { return buses_[r >> 8].is_hidden; }
    // All buses behind that bridge. False: it is none, or it was not believed.
    bool buses_behind(Requester bridge, Buses& behind) const;
    // The function that a path leads to, as Dmar::Scope has it. False: a bridge on the way is missing.
    bool resolve(std::uint8_t start_bus, const std::uint8_t* hops, unsigned hop_count,
                 Requester& function) const;

    // For who looks: forget everything; then, with rising numbers, for each bus that exists all its bridges; then finish.
    void clear();
    // Whether to look at the bus. can_be_first: it might be below a host bridge.
    bool begin(std::uint8_t bus, bool can_be_first);
    bool has_one_device(std::uint8_t bus) const { return buses_[bus].has_one_device; }
    void add(const Bridge& b);
    void finish();

  private:
    struct Bus {
        Requester bridge;
        std::uint8_t last;    // behind the same bridge
        std::uint8_t within;  // the innermost bus behind whose bridge this one is; 0: behind none
        bool exists : 1, has_bridge : 1, has_one_device : 1, is_hidden : 1;
    };
    bool is_free(const Bridge& b) const;

    Bus buses_[bus_count] = {};
};

// Reads configuration space, before anybody else uses it. Bus 0 and the buses of `starts` are looked at, and what is behind
// their bridges. Config:
//   std::uint32_t read(Requester, unsigned offset);
template <typename Config>
class Scan {
  public:
    Scan(Config& config, Hierarchy& found) : config_{config}, found_{found} {}

    void run(const BusSet& starts) {
        found_.clear();
        for (unsigned bus = 0; bus < Hierarchy::bus_count; ++bus) {
            const auto b = static_cast<std::uint8_t>(bus);
            if (found_.begin(b, bus == 0 || starts.has(b))) look_at_bus(b);
        }
        found_.finish();
    }

  private:
    static constexpr unsigned id = 0x00, command = 0x04, header = 0x0c, numbers = 0x18, list = 0x34;
    static constexpr unsigned root_port = 4, upstream_port = 5, downstream_port = 6;

    void look_at_bus(std::uint8_t bus) {
        const unsigned devices = found_.has_one_device(bus) ? 1 : 32;
        for (unsigned device = 0; device < devices; ++device) {
            unsigned functions = 1;
            for (unsigned f = 0; f < functions; ++f) {
                const auto r = static_cast<Requester>(bus << 8 | device << 3 | f);
                const std::uint32_t name = config_.read(r, id);
                if ((name & 0xffff) == 0xffff || name == 0) continue;
                const unsigned kind = config_.read(r, header) >> 16 & 0xff;
                if (f == 0 && (kind & 0x80) != 0) functions = 8;
                look_at_function(r, kind & 0x7f);
            }
        }
    }
    void look_at_function(Requester r, unsigned kind) {
        constexpr unsigned bridge = 1, card_bus = 2;
        if (kind != bridge && kind != card_bus) return;
        const std::uint32_t n = config_.read(r, numbers);
        const unsigned port = kind == bridge ? port_type(r) : 0;
        const bool is_down = port == root_port || port == downstream_port;
        found_.add({r, static_cast<std::uint8_t>(n >> 8), static_cast<std::uint8_t>(n >> 16),
                    is_down || port == upstream_port, is_down});
    }
    // Of its PCI Express capability (§7.5.3.2); 0, which is no port's, without one.
    unsigned port_type(Requester r) {
        constexpr std::uint32_t has_list = 1u << 20, express = 0x10;
        if ((config_.read(r, command) & has_list) == 0) return 0;
        unsigned at = config_.read(r, list) & 0xfc;
        // A list in a circle ends.
        for (unsigned steps = 0; at >= 0x40 && steps < 48; ++steps) {
            const std::uint32_t capability = config_.read(r, at);
            if ((capability & 0xff) == express) return capability >> 20 & 0xf;
            at = capability >> 8 & 0xfc;
        }
        return 0;
    }

    Config& config_;
    Hierarchy& found_;
};

}  // namespace margay::iommu
