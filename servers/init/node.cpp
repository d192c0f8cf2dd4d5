#include "servers/init/node.hpp"

#include "libipc/log.hpp"
#include "libipc/mapping.hpp"
#include "support/address.hpp"

namespace margay::init {

const BootExtent* Node::module(std::string_view name) const {
    for (unsigned i = 0; i < info_.extents; ++i) {
        const BootExtent& e = info_.extent[i];
        if (e.use == ExtentUse::module && name == e.name) return &e;
    }
    return nullptr;
}

Slot Node::new_slot() {
    if (next_slot_ >= init_slots) fail("init has no capability slot left", Status::no_memory);
    return next_slot_++;
}

std::uint64_t Node::new_range(std::uint64_t bytes, std::uint64_t alignment) {
    next_address_ = align_up(next_address_, alignment);
    const std::uint64_t at = next_address_;
    next_address_ += align_up(bytes, page_size);
    return at;
}

Result<Extent> Node::allocate(std::uint64_t bytes, std::uint64_t alignment) {
    const Slot slot = new_slot();
    if (pmem_ != no_slot) return allocate_memory(pmem_, slot, bytes, alignment);
    const std::uint64_t size = align_up(bytes, page_size);
    if (size > bootstrap_.size) return Status::no_memory;
    const Status s = carve(slot, bootstrap_.slot, bootstrap_.base, size);
    if (s != Status::ok) return s;
    const Extent e{slot, bootstrap_.base, size};
    bootstrap_.base += size;
    bootstrap_.size -= size;
    return e;
}

Result<std::uint64_t> Node::map_here(const Extent& e, std::uint64_t rights) {
    const std::uint64_t at = new_range(e.size + large_page, large_page) + e.base % large_page;
    const Status s = map_all(e, init_slot::domain, at, 0, e.size, rights);
    if (s != Status::ok) return s;
    return at;
}

Result<Slot> Node::create_event() {
    const Result<Extent> storage = allocate(storage_small);
    if (!storage) return storage.status();
    const Slot slot = new_slot();
    const Status s = create(ObjectType::event, slot, storage->slot);
    if (s != Status::ok) return s;
    return slot;
}

}  // namespace margay::init
