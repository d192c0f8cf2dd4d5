// The page tables by which DMA finds its memory, as the machine's IOMMUs want them.
#pragma once
#include <cstdint>

#include "support/address.hpp"
#include "ukernel/memory/format/amd_vi.hpp"
#include "ukernel/memory/format/vtd.hpp"
#include "ukernel/memory/page_table.hpp"

namespace margay::iommu {

struct DmaFormat {
    enum class Entries : std::uint8_t { amd_vi, vtd };
    Entries entries;
    std::uint8_t levels;
    std::uint8_t largest_leaf;  // its level, as PageTable counts them
    std::uint64_t end;          // addresses below it can be mapped
};

// Interrupt messages: there is nothing that a device could read or write.
constexpr std::uint64_t messages_begin = 0xfee0'0000, messages_end = 0xfef0'0000;

// f(Format{}, tables)
template <typename Frames, typename F>
auto with_dma_tables(const DmaFormat& format, Frames& frames, HostPhys root, F f) {
    if (format.entries == DmaFormat::Entries::vtd)
        return f(VtdFormat{},
                 PageTable<Frames, VtdFormat>{frames, root, format.largest_leaf, format.levels});
    return f(AmdViFormat{},
             PageTable<Frames, AmdViFormat>{frames, root, format.largest_leaf, format.levels});
}

}  // namespace margay::iommu
