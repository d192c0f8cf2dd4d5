// The ACPI tables that the kernel itself needs: MADT (cores, I/O APICs), FADT (PM timer) and SRAT (NUMA
// nodes); it finds the IVRS and the DMAR. Reads only, through a view of physical memory, so that host tests and the fuzzer run it.
#pragma once
#include <cstdint>

#include "proto/kernel.hpp"
#include "support/address.hpp"

namespace margay::acpi {

// Where these bytes of physical memory can be read; null if they cannot.
using View = const std::uint8_t* (*)(HostPhys address, std::uint64_t bytes);

struct IoApic {
    HostPhys base;
    std::uint32_t first_gsi;
    std::uint8_t id;
};
// An ISA line that is not what its number says: active high, edge-triggered.
struct LineOverride {
    std::uint8_t isa;
    bool active_low, level;
    std::uint32_t gsi;
};
struct MemoryAffinity {
    HostPhys begin, end;
    std::uint32_t node;
};

struct Platform {
    static constexpr unsigned max_io_apics = 16, max_overrides = 16, max_affinities = 256;

    struct CoreEntry {
        std::uint32_t apic_id, node;
    };
    CoreEntry cores[max_cores];  // the enabled ones, each id once, in the MADT's order
    unsigned core_count = 0;
    IoApic io_apics[max_io_apics];
    unsigned io_apic_count = 0;
    LineOverride overrides[max_overrides];
    unsigned override_count = 0;
    MemoryAffinity memory[max_affinities];  // may overlap or leave gaps, as firmware has it
    unsigned memory_count = 0;
    std::uint16_t pm_timer_port = 0;  // 0: none
    // Of AMD's IOMMUs (arch/x86_64/iommu/ivrs.hpp); null: there are none.
    const std::uint8_t* ivrs = nullptr;
    std::uint32_t ivrs_bytes = 0;
    // Of Intel's (arch/x86_64/iommu/vtd/dmar.hpp).
    const std::uint8_t* dmar = nullptr;
    std::uint32_t dmar_bytes = 0;

    // More of a kind than there is room for, and tables that lie about themselves.
    unsigned cores_left_out = 0, others_left_out = 0, bad_checksums = 0;

    // The NUMA node of an address, and in `end` where that ends at the latest. 0 where nothing is said.
    std::uint32_t node_of(HostPhys address, HostPhys& end) const;
};

// rsdp: a copy of the root pointer, 36 bytes. False without a usable MADT; the node then runs on one core.
bool parse(const std::uint8_t* rsdp, View view, Platform& platform);

}  // namespace margay::acpi
