#include "ukernel/object/dma_space.hpp"

#include <new>

#include "ukernel/arch/x86_64/iommu/iommu.hpp"

namespace margay {

Result<DmaSpace*> DmaSpace::create(HostPhys base, std::uint64_t size, std::uint64_t mapping_count) {
    if (!iommu::is_present()) return Status::not_supported;
    // Object, root table, records; then the pool.
    constexpr std::uint64_t root_offset = page_size, records_offset = 2 * page_size;
    const std::uint64_t fixed =
        records_offset + align_up(mapping_count * sizeof(Mapping), page_size);
    if (size < fixed) return Status::no_memory;
    std::uint16_t number = 0;
    const Status s = iommu::take_domain(number);
    if (s != Status::ok) return s;
    auto* space = new (direct<void>(base)) DmaSpace{};
    space->domain = number;
    const HostPhys root = base + root_offset;
    std::uint64_t* entries = direct<std::uint64_t>(root);
    for (unsigned i = 0; i < 512; ++i) entries[i] = 0;
    space->init_mappings(Kind::dma, root, direct<Mapping>(base + records_offset), mapping_count,
                         base + fixed, base + size);
    space->with_dma_tables(iommu::dma_format(),
                           [entries](auto format, auto) { format.written(entries, 512); });
    return space;
}

void DmaSpace::destroy() { iommu::release_domain(domain); }

}  // namespace margay
