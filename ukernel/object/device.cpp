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

static_assert(storage_device == 2 * page_size);

Device::Device(iommu::Requester r, HostPhys messages)
    : requester{r}, attachment{end_attachment, this}, messages_{messages} {}

Result<Device*> Device::create(HostPhys base, std::uint64_t size, iommu::Requester requester,
                               bool may_raise_any) {
    if (size < storage_device) return Status::no_memory;
    const Status s = iommu::can_confine(requester);
    if (s != Status::ok) return s;
    if (!may_raise_any && !iommu::remaps_interrupts()) return Status::not_supported;
    const std::uint64_t bit = 1ull << requester % 64;
    if ((taken[requester / 64].fetch_or(bit) & bit) != 0) return Status::in_use;
    const HostPhys messages = base + page_size;
    std::uint64_t* words = direct<std::uint64_t>(messages);
    for (unsigned i = 0; i < page_size / sizeof(*words); ++i) words[i] = 0;
    auto* d = new (direct<void>(base)) Device{requester, messages};
    if (iommu::remaps_interrupts()) iommu::open_messages(requester, messages);
    return d;
}

void Device::destroy() {
    if (iommu::remaps_interrupts()) iommu::close_messages(requester, messages_);
    free_function(requester);
}

Status Device::take_message(unsigned index) {
    const std::uint64_t bit = 1ull << index % 64;
    if ((taken_[index / 64].fetch_or(bit) & bit) != 0) return Status::in_use;
    if (!iommu::remaps_interrupts()) return Status::ok;
    const Status s = iommu::take_message(requester, messages_, index);
    if (s != Status::ok) taken_[index / 64].fetch_and(~bit);
    return s;
}

void Device::release_message(unsigned index) {
    if (iommu::remaps_interrupts()) iommu::release_message(requester, messages_, index);
    taken_[index / 64].fetch_and(~(1ull << index % 64));
}

iommu::Message Device::message(unsigned index, unsigned vector, unsigned apic_id) const {
    if (iommu::remaps_interrupts()) return iommu::message(messages_, index);
    // As the local APIC takes it (Intel SDM 3A §11.11): fixed, edge.
    return {iommu::messages_begin | apic_id << 12, vector};
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
