// The DMA remapping table: which of Intel's IOMMUs there are, whose DMA they see, and what memory firmware uses behind
// functions' backs (Intel VT-d specification §8). Reads only; host tests and the fuzzer run it.
#pragma once
#include <cstdint>

#include "support/address.hpp"
#include "ukernel/arch/x86_64/iommu/requester.hpp"

namespace margay::iommu {

struct Dmar {
    static constexpr unsigned max_units = 64, max_scopes = 512, max_reserved = 64,
                              max_reserved_scopes = 256, max_hops = 8;
    // Nobody's: what a scope has whose unit is left out, and what no unit covers.
    static constexpr std::uint8_t no_unit = 0xff;

    // A remapping hardware unit (DRHD, §8.3).
    struct Unit {
        HostPhys registers;   // page-aligned
        std::uint16_t pages;  // of 4 KiB, a power of two
        bool covers_others;   // INCLUDE_PCI_ALL: functions that no other unit has
    };
    // What a scope names (§8.3.1): a function, a bridge with everything below it, or what sends without being a function.
    enum class Kind : std::uint8_t { endpoint = 1, bridge = 2, io_apic = 3, hpet = 4 };
    struct Scope {
        Kind kind;
        std::uint8_t owner;        // of `units` or `reserved`
        std::uint8_t enumeration;  // an I/O APIC's id, or the number of an HPET
        std::uint8_t start_bus;
        std::uint8_t hop_count;  // 1 to max_hops
        // Device 7:3 and function 2:0: the first on the start bus, each other one on the bus behind the bridge before it.
        std::uint8_t hops[max_hops];
    };
    // Memory that firmware uses behind the functions' backs (RMRR, §8.4): [begin, end), whole pages.
    struct Reserved {
        HostPhys begin, end;
    };

    Unit units[max_units];
    unsigned unit_count = 0;
    Scope scopes[max_scopes];  // of units; `owner` is no_unit when the unit is left out
    unsigned scope_count = 0;
    Reserved reserved[max_reserved];
    unsigned reserved_count = 0;
    Scope reserved_scopes[max_reserved_scopes];  // endpoints and bridges
    unsigned reserved_scope_count = 0;
    // The unit that covers others. no_unit also when a unit of the segment is left out: what is not named might be its.
    std::uint8_t catch_all = no_unit;
    unsigned physical_bits = 0;  // that DMA can address
    bool remaps_interrupts = false;
    bool opts_out_of_x2apic = false;
    // A unit that cannot be used: nobody covers what it covers.
    void leave_out(std::uint8_t unit) {
        for (unsigned i = 0; i < scope_count; ++i)
            if (scopes[i].owner == unit) scopes[i].owner = no_unit;
        if (catch_all == unit) catch_all = no_unit;
    }

    // More of a kind than there is room for; units and memory that cannot be, or of PCI segments other than 0.
    unsigned left_out = 0;
};

// The whole table, its length as its header says. False if it describes no unit.
bool parse_dmar(const std::uint8_t* table, std::uint32_t length, Dmar& found);

}  // namespace margay::iommu
