// The I/O virtualization reporting structure: which AMD IOMMUs there are, and whose DMA they see
// (AMD I/O Virtualization Technology specification §5.2). Reads only; host tests and the fuzzer run it.
#pragma once
#include <cstdint>

#include "support/address.hpp"
#include "ukernel/arch/x86_64/iommu/requester.hpp"

namespace margay::iommu {

struct Ivrs {
    static constexpr unsigned max_units = 16, max_ranges = 512, max_specials = 32,
                              max_reserved = 32;

    struct Unit {
        HostPhys registers;
        Requester self;
        std::uint8_t flags;  // of its IVHD, as unit_flag
    };
    // What a unit translates: [first, last], which appear as themselves, or as another function when they are behind a
    // bridge that hides them.
    struct Range {
        Requester first, last, source;
        bool aliased;  // they appear as `source`
        std::uint8_t unit;
    };
    // What sends without being a PCI function of its own.
    struct Special {
        Requester source;
        std::uint8_t handle;  // an I/O APIC's id, or the number of an HPET
        bool is_io_apic;
        std::uint8_t unit;
    };
    // Memory that firmware uses behind the functions' backs (IVMD): [begin, end).
    struct Reserved {
        Requester first, last;
        HostPhys begin, end;
        bool reads, writes;  // what firmware's functions do there
    };

    Unit units[max_units];
    unsigned unit_count = 0;
    Range ranges[max_ranges];
    unsigned range_count = 0;
    Special specials[max_specials];
    unsigned special_count = 0;
    Reserved reserved[max_reserved];
    unsigned reserved_count = 0;
    unsigned physical_bits = 0;  // 0: it does not say
    // More of a kind than there is room for; units of PCI segments other than 0.
    unsigned left_out = 0;

    // The range that a function is in, or null. The last one that names it counts.
    const Range* range_of(Requester r) const;
    const Reserved* reserved_of(Requester r) const;
};

namespace unit_flag {
constexpr std::uint8_t ht_tunnel = 1 << 0;
constexpr std::uint8_t pass_posted_writes = 1 << 1;
constexpr std::uint8_t response_pass_posted_writes = 1 << 2;
constexpr std::uint8_t isochronous = 1 << 3;
}  // namespace unit_flag

// The whole table, its length as its header says. False if it describes no unit.
bool parse_ivrs(const std::uint8_t* table, std::uint32_t length, Ivrs& found);

}  // namespace margay::iommu
