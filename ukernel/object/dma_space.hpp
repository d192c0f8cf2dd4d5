// DmaSpace: what the DMA of devices reaches. An address space over the same extents as Domains and guest Spaces; the
// IOMMU walks its tables for the Devices that are attached to it.
#pragma once
#include "support/result.hpp"
#include "ukernel/object/map_target.hpp"

namespace margay {

struct DmaSpace : MapTarget {
    std::uint16_t domain = 0;  // by which the IOMMU tags its translations

    // `no_memory`: the storage is too small, or there is no number left; `not_supported`: there is no IOMMU.
    static Result<DmaSpace*> create(HostPhys base, std::uint64_t size, std::uint64_t mapping_count);
    void destroy();
};

}  // namespace margay
