// What firmware tells the kernel: a memory map, against a slow and simple reading of the same list, and ACPI
// tables in a memory that is exactly as large as it says.
#include "tests/fuzz/input.hpp"

#include "ukernel/arch/x86_64/acpi.hpp"
#include "ukernel/arch/x86_64/iommu/ivrs.hpp"
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
    for (std::uint64_t at = 0; at < 1ull << 40; at = at * 2 + 4096) {
        HostPhys end{1ull << 52};
        (void)p->node_of(HostPhys{at}, end);
        require(end > HostPhys{at}, "a node's part is not empty");
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input in{data, size};
    if ((in.take<std::uint8_t>() & 1) != 0)
        check_memory_map(in);
    else
        check_tables(in);
    return 0;
}
