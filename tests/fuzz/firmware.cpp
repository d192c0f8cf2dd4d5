// What firmware tells the kernel: a memory map, against a slow and simple reading of the same list, and ACPI
// tables in a memory that is exactly as large as it says; and on which buses of a made-up configuration space the tables of
// IOMMUs find what they name.
//
// Input: kind (1). 1: entries of a memory map. 0: what the root pointer says (3), and memory. 2: count of functions (1), these as
// {bus, device and function, header type, port's type, secondary, subordinate} (6), and a DMAR's structures.
#include "tests/fuzz/input.hpp"

#include "ukernel/arch/x86_64/acpi.hpp"
#include "ukernel/arch/x86_64/iommu/amd_vi/ivrs.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/coverage.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/dmar.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/hierarchy.hpp"
#include "ukernel/memory/memory_map.hpp"

#include <memory>
#include <vector>

using namespace margay;
using margay::fuzz::Input;
using margay::fuzz::require;

namespace {

struct Entry {
    std::uint64_t base, length;
    std::uint32_t type, padding;
};

// Few and close together, so that they meet; now and then at the end of all addresses.
Entry take_entry(Input& in) {
    const auto shape = in.take<std::uint8_t>();
    std::uint64_t base = in.take<std::uint16_t>() * 1024ull,
                  length = in.take<std::uint16_t>() * 512ull;
    if ((shape & 0x10) != 0) base = ~base;
    if ((shape & 0x20) != 0) length = ~length;
    return {base, length, shape & 7u, 0};
}

void check_memory_map(Input& in) {
    std::vector<Entry> entries(in.take<std::uint8_t>() % 16);
    for (Entry& e : entries) e = take_entry(in);
    auto map = std::make_unique<MemoryMap>();
    constexpr std::uint64_t end = 1ull << 40;
    map->build({reinterpret_cast<const std::uint8_t*>(entries.data()), sizeof(Entry),
                static_cast<std::uint32_t>(entries.size())},
               HostPhys{end});
    std::uint64_t last = 0;
    for (const MemoryRange& r : *map) {
        const std::uint64_t begin = r.begin.value();
        require(begin >= last && r.begin < r.end, "sorted, disjoint, not empty");
        require((begin | r.end.value()) % 4096 == 0 && r.end.value() <= end,
                "whole pages within reach");
        last = r.end.value();
        if (r.kind != RamKind::free) continue;
        for (const Entry& e : entries) {
            if (e.type == 1 || e.length == 0) continue;
            const std::uint64_t stop = e.base + e.length < e.base ? ~0ull : e.base + e.length;
            require(stop <= begin || e.base >= last, "free RAM is nobody else's");
        }
    }
}

std::vector<std::uint8_t> memory;
constexpr std::uint64_t memory_base = 0x8000;

// Each view is a copy of its own: reading one byte more is an error.
std::vector<std::unique_ptr<std::uint8_t[]>> views;
const std::uint8_t* view(HostPhys at, std::uint64_t bytes) {
    const std::uint64_t offset = at.value() - memory_base;
    if (at.value() < memory_base || offset > memory.size() || bytes > memory.size() - offset)
        return nullptr;
    views.push_back(std::make_unique<std::uint8_t[]>(bytes));
    std::memcpy(views.back().get(), memory.data() + offset, bytes);
    return views.back().get();
}

void check_ivrs(const std::uint8_t* table, std::uint32_t bytes) {
    static iommu::Ivrs found;
    const bool usable = iommu::parse_ivrs(table, bytes, found);
    require(usable == (found.unit_count != 0), "a table without units is of no use");
    require(found.unit_count <= iommu::Ivrs::max_units &&
                found.range_count <= iommu::Ivrs::max_ranges &&
                found.special_count <= iommu::Ivrs::max_specials &&
                found.reserved_count <= iommu::Ivrs::max_reserved,
            "counts fit");
    for (unsigned i = 0; i < found.unit_count; ++i) {
        require(found.units[i].registers.value() % 0x4000 == 0, "registers where they can be");
        for (unsigned k = 0; k < i; ++k)
            require(found.units[i].registers != found.units[k].registers, "no unit twice");
    }
    for (unsigned i = 0; i < found.range_count; ++i) {
        const iommu::Ivrs::Range& r = found.ranges[i];
        require(r.first <= r.last && r.unit < found.unit_count, "a range of a unit");
        require(found.range_of(r.last) != nullptr, "what it names is found");
    }
}

void check_scopes(const iommu::Dmar::Scope* scopes, unsigned count, unsigned owners) {
    for (unsigned i = 0; i < count; ++i) {
        const iommu::Dmar::Scope& s = scopes[i];
        require(s.owner < owners || s.owner == iommu::Dmar::no_unit, "somebody's, or nobody's");
        require(s.hop_count != 0 && s.hop_count <= iommu::Dmar::max_hops, "a path");
    }
}

// Stays for who wants to see where it leads.
iommu::Dmar dmar;
bool check_dmar(const std::uint8_t* table, std::uint32_t bytes) {
    const bool usable = iommu::parse_dmar(table, bytes, dmar);
    require(usable == (dmar.unit_count != 0), "a table without units is of no use");
    require(dmar.unit_count <= iommu::Dmar::max_units &&
                dmar.scope_count <= iommu::Dmar::max_scopes &&
                dmar.reserved_count <= iommu::Dmar::max_reserved &&
                dmar.reserved_scope_count <= iommu::Dmar::max_reserved_scopes,
            "counts fit");
    for (unsigned i = 0; i < dmar.unit_count; ++i) {
        require(dmar.units[i].registers.value() % 4096 == 0 && dmar.units[i].pages != 0,
                "registers where they can be");
        for (unsigned k = 0; k < i; ++k)
            require(dmar.units[i].registers != dmar.units[k].registers, "no unit twice");
    }
    for (unsigned i = 0; i < dmar.reserved_count; ++i) {
        const auto& [begin, end] = dmar.reserved[i];
        require(begin < end && (begin.value() | end.value()) % 4096 == 0, "whole pages");
    }
    check_scopes(dmar.scopes, dmar.scope_count, dmar.unit_count);
    check_scopes(dmar.reserved_scopes, dmar.reserved_scope_count, dmar.reserved_count);
    const unsigned all = dmar.catch_all;
    require(all == iommu::Dmar::no_unit || (all < dmar.unit_count && dmar.units[all].covers_others),
            "who covers others says so");
    return usable;
}

// Functions that the input makes up, most of them bridges.
struct MadeUpConfig {
    struct Function {
        iommu::Requester self = 0;
        std::uint8_t header = 0, port = 0, secondary = 0, subordinate = 0;
    };
    std::vector<Function> functions;
    unsigned reads = 0;

    std::uint32_t read(iommu::Requester r, unsigned offset) {
        ++reads;
        require(offset % 4 == 0 && offset < 256, "a register that there is");
        for (const Function& f : functions)
            if (f.self == r) return of(f, offset);
        return ~0u;
    }
    static std::uint32_t of(const Function& f, unsigned offset) {
        constexpr std::uint32_t express = 0x10, power = 0x01;
        switch (offset) {
        case 0x00: return 0x00101b36;
        case 0x04: return (f.port & 0x10) != 0 ? 0 : 1u << 20;
        case 0x0c: return std::uint32_t{f.header} << 16;
        case 0x18: return std::uint32_t{f.secondary} << 8 | std::uint32_t{f.subordinate} << 16;
        case 0x34: return 0x40;
        // In front of what it is, or in a circle without it.
        case 0x40: return power | ((f.port & 0x20) != 0 ? 0x40 : 0x50) << 8;
        case 0x50: return express | (f.port & 0xfu) << 20;
        default: return 0;
        }
    }
};

void check_coverage(const iommu::Hierarchy& hierarchy) {
    static iommu::Coverage coverage;
    coverage.build(dmar, hierarchy);
    for (unsigned bus = 0; bus < 256; ++bus) {
        const auto b = static_cast<std::uint8_t>(bus);
        const auto r = static_cast<iommu::Requester>(bus << 8 | 8);
        const unsigned unit = coverage.unit_of(r);
        require(unit < dmar.unit_count || unit == iommu::Dmar::no_unit, "a unit, or none");
        const iommu::Dmar::Reserved* reserved = coverage.reserved_of(r);
        require(reserved == nullptr || reserved < dmar.reserved + dmar.reserved_count,
                "a range of the table");
        const iommu::Coverage::Special* s = coverage.io_apic(bus);
        require(s == nullptr ||
                    (s->is_io_apic && s->handle == bus && coverage.is_special(s->source) &&
                     (s->unit < dmar.unit_count || s->unit == iommu::Dmar::no_unit)),
                "an I/O APIC of a unit, or of one that is left out");
        require(hierarchy.exists(b) || coverage.is_hidden(r), "nobody knows");
        if (!hierarchy.is_behind_bridge(b)) continue;
        const iommu::Requester above = hierarchy.bridge_above(b);
        require(hierarchy.exists(b) && above >> 8 < bus, "a tree");
        require(coverage.is_hidden(r) || !coverage.is_hidden(above), "as what is above it");
        iommu::Hierarchy::Buses behind{};
        require(hierarchy.buses_behind(above, behind) && behind.first <= behind.last,
                "behind its bridge");
    }
    // Everybody whom a unit's scope names by a path of one hop is somebody's.
    for (unsigned i = 0; i < dmar.scope_count; ++i) {
        const iommu::Dmar::Scope& s = dmar.scopes[i];
        if (s.hop_count != 1 || s.owner == iommu::Dmar::no_unit ||
            s.kind != iommu::Dmar::Kind::endpoint || dmar.catch_all == iommu::Dmar::no_unit)
            continue;
        const auto r = static_cast<iommu::Requester>(s.start_bus << 8 | s.hops[0]);
        require(coverage.unit_of(r) != iommu::Dmar::no_unit, "named");
    }
    // One that turns out to be off has nobody any more.
    dmar.leave_out(0);
    coverage.build(dmar, hierarchy);
    for (unsigned r = 0; r < 65536; r += 8)
        require(coverage.unit_of(static_cast<iommu::Requester>(r)) != 0, "it is off");
}

void check_buses(Input& in) {
    MadeUpConfig config;
    config.functions.resize(in.take<std::uint8_t>() % 64);
    for (MadeUpConfig::Function& f : config.functions) {
        const auto bus = in.take<std::uint8_t>(), place = in.take<std::uint8_t>();
        f.self = static_cast<iommu::Requester>(bus << 8 | place);
        f.header = in.take<std::uint8_t>();
        f.port = in.take<std::uint8_t>();
        f.secondary = in.take<std::uint8_t>();
        f.subordinate = in.take<std::uint8_t>();
    }
    const auto rest = in.take_rest();
    // At the very end of its memory: what reads further is found.
    const auto table = std::make_unique<std::uint8_t[]>(48 + rest.size());
    std::memcpy(table.get(), "DMAR", 4);
    std::copy(rest.begin(), rest.end(), table.get() + 48);
    (void)check_dmar(table.get(), static_cast<std::uint32_t>(48 + rest.size()));
    static iommu::Hierarchy hierarchy;
    iommu::Scan{config, hierarchy}.run(iommu::start_buses(dmar));
    require(config.reads <= 256 * 256 * 2, "each bus once");
    check_coverage(hierarchy);
}

void check_tables(Input& in) {
    std::uint8_t rsdp[36] = {};
    std::memcpy(rsdp, "RSD PTR ", 8);
    rsdp[15] = in.take<std::uint8_t>() & 2;
    const std::uint32_t rsdt = memory_base + in.take<std::uint8_t>();
    const std::uint64_t xsdt = memory_base + in.take<std::uint8_t>();
    std::memcpy(rsdp + 16, &rsdt, 4);
    std::memcpy(rsdp + 24, &xsdt, 8);
    const auto rest = in.take_rest();
    memory.assign(rest.begin(), rest.end());
    views.clear();
    auto p = std::make_unique<acpi::Platform>();
    const bool usable = acpi::parse(rsdp, view, *p);
    require(!usable || p->core_count != 0, "there is a core");
    require(p->core_count <= max_cores && p->io_apic_count <= acpi::Platform::max_io_apics &&
                p->override_count <= acpi::Platform::max_overrides &&
                p->memory_count <= acpi::Platform::max_affinities,
            "counts fit");
    for (unsigned i = 0; i < p->core_count; ++i)
        for (unsigned k = 0; k < i; ++k)
            require(p->cores[i].apic_id != p->cores[k].apic_id, "no id twice");
    if (p->ivrs != nullptr) check_ivrs(p->ivrs, p->ivrs_bytes);
    if (p->dmar != nullptr) (void)check_dmar(p->dmar, p->dmar_bytes);
    for (std::uint64_t at = 0; at < 1ull << 40; at = at * 2 + 4096) {
        HostPhys end{1ull << 52};
        (void)p->node_of(HostPhys{at}, end);
        require(end > HostPhys{at}, "a node's part is not empty");
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input in{data, size};
    const auto kind = in.take<std::uint8_t>();
    if ((kind & 1) != 0)
        check_memory_map(in);
    else if ((kind & 2) != 0)
        check_buses(in);
    else
        check_tables(in);
    return 0;
}
