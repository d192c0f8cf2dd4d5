#include "ukernel/object/device.hpp"

#include <new>

#include "proto/kernel.hpp"
#include "ukernel/memory/direct_map.hpp"
#include "ukernel/object/dma_space.hpp"

namespace margay {

namespace {

// Functions that have a Device.
std::atomic<std::uint64_t> taken[65536 / 64];

void end_attachment(Binding& b) { static_cast<Device*>(b.owner)->detach(); }

}  // namespace

static_assert(iommu::amd_vi::interrupt_table_bytes <= page_size && storage_device == 2 * page_size);

Device::Device(iommu::Requester r) : requester{r}, attachment{end_attachment, this} {}

Result<Device*> Device::create(HostPhys base, std::uint64_t size, iommu::Requester requester) {
    if (size < storage_device) return Status::no_memory;
    const Status s = iommu::can_confine(requester);
    if (s != Status::ok) return s;
    const std::uint64_t bit = 1ull << requester % 64;
    if ((taken[requester / 64].fetch_or(bit) & bit) != 0) return Status::in_use;
    auto* d = new (direct<void>(base)) Device{requester};
    const HostPhys table = base + page_size;
    d->messages = direct<iommu::amd_vi::InterruptEntry>(table);
    for (unsigned i = 0; i < iommu::amd_vi::interrupt_entries; ++i) d->messages[i].store(0);
    iommu::remap_interrupts(requester, table);
    return d;
}

void Device::destroy() {
    iommu::block_interrupts(requester);
    free_function(requester);
}

void Device::free_function(iommu::Requester r) { taken[r / 64].fetch_and(~(1ull << r % 64)); }

void Device::attach(DmaSpace& to) {
    space = &to;
    iommu::attach(requester, to.domain, to.root());
}

void Device::detach() {
    if (space == nullptr) return;
    iommu::detach(requester, space->domain);
    space = nullptr;
}

}  // namespace margay
