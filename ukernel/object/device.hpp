// Device: one PCI function as the source of DMA and of interrupt messages.
#pragma once
#include <atomic>

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
    Binding attachment;  // below the DmaSpace's capability

    // storage_device bytes. `in_use`: there is a Device for the function already, or firmware or an IOMMU needs it;
    // `not_supported`: no IOMMU confines it.
    // may_raise_any: also where it can raise any interrupt, because the IOMMU confines its DMA only.
    static Result<Device*> create(HostPhys base, std::uint64_t size, iommu::Requester requester,
                                  bool may_raise_any);
    void destroy();
    // There is no Device for it any more.
    static void free_function(iommu::Requester r);

    // One of its messages, for one Irq. `in_use`: it has one; `no_memory`: the IOMMU has no entry left.
    Status take_message(unsigned index);
    void release_message(unsigned index);
    // Vector 0: it raises nothing, where the IOMMU looks messages up.
    void set_message(unsigned index, unsigned vector, unsigned apic_id) {
        if (iommu::remaps_interrupts())
            iommu::set_message(requester, messages_, index, vector, apic_id);
    }
    // How the function sends it, so that it raises that vector there.
    iommu::Message message(unsigned index, unsigned vector, unsigned apic_id) const;

    // It reaches what the space maps, until detach(). Not attached before.
    void attach(DmaSpace& to);
    void detach();

  private:
    Device(iommu::Requester r, HostPhys messages);
    HostPhys messages_;  // the page behind the object
    std::atomic<std::uint64_t> taken_[iommu::messages_per_function / 64] = {};
};

}  // namespace margay
