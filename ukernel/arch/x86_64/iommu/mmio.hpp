// Registers of an IOMMU's unit.
#pragma once
#include <cstdint>

#include "support/address.hpp"
#include "ukernel/core/measure.hpp"
#include "ukernel/memory/kernel_tables.hpp"

namespace margay::iommu {

class Mmio {
  public:
    static constexpr unsigned most_pages = 8;

    // `bytes` of them, from a page on.
    Mmio(HostPhys base, std::uint64_t bytes) : base_{base} { reach(bytes); }

    // More than was thought.
    void reach(std::uint64_t bytes) {
        for (; pages_ < most_pages && pages_ * 4096 < bytes; ++pages_)
            page_[pages_] = static_cast<volatile std::uint8_t*>(
                kernel_tables::map_device(base_ + pages_ * 4096));
    }
    std::uint64_t bytes() const { return pages_ * 4096ull; }

    std::uint64_t read(unsigned offset) const { return at<std::uint64_t>(offset); }
    void write(unsigned offset, std::uint64_t value) const { at<std::uint64_t>(offset) = value; }
    std::uint32_t read32(unsigned offset) const { return at<std::uint32_t>(offset); }
    void write32(unsigned offset, std::uint32_t value) const { at<std::uint32_t>(offset) = value; }
    void pause() const { measure::pause(); }

  private:
    template <typename T>
    volatile T& at(unsigned offset) const {
        return *reinterpret_cast<volatile T*>(page_[offset / 4096] + offset % 4096);
    }

    HostPhys base_;
    volatile std::uint8_t* page_[most_pages] = {};
    unsigned pages_ = 0;
};

}  // namespace margay::iommu
