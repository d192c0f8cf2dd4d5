// Device: one PCI function as the source of DMA and of interrupt messages.
#pragma once
#include "support/result.hpp"
#include "ukernel/arch/x86_64/iommu/iommu.hpp"
#include "ukernel/tree/node.hpp"

namespace margay {

struct DmaSpace;
struct Irq;

// Changed under the lock of its own estate, and that of the DmaSpace it is attached to.
struct Device {
    iommu::Requester requester;
    DmaSpace* space = nullptr;
    Binding attachment;                       // below the DmaSpace's capability
    iommu::amd_vi::InterruptEntry* messages;  // its interrupt table, in the page behind the object

    // storage_device bytes. `in_use`: there is a Device for the function already, or firmware or an IOMMU needs it;
    // `not_supported`: no IOMMU confines it.
    static Result<Device*> create(HostPhys base, std::uint64_t size, iommu::Requester requester);
    void destroy();
    // There is no Device for it any more.
    static void free_function(iommu::Requester r);

    // An index of its interrupt table, for one Irq. False: it has one.
    bool take_message(unsigned index) {
        const std::uint64_t bit = 1ull << index % 64;
        return (taken_[index / 64].fetch_or(bit) & bit) == 0;
    }
    void release_message(unsigned index) { taken_[index / 64].fetch_and(~(1ull << index % 64)); }

    // It reaches what the space maps, until detach(). Not attached before.
    void attach(DmaSpace& to);
    void detach();

  private:
    explicit Device(iommu::Requester r);
    std::atomic<std::uint64_t> taken_[iommu::amd_vi::interrupt_entries / 64] = {};
};

}  // namespace margay
