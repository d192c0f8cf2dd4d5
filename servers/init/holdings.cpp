#include "servers/init/holdings.hpp"

#include "libipc/log.hpp"

namespace margay::init {

Result<Extent> Holdings::allocate(std::uint64_t bytes, std::uint64_t alignment) {
    if (extent_count_ == extent_room) return Status::no_memory;
    const Result<Extent> e = node_->allocate(bytes, alignment);
    if (e) extents_[extent_count_++] = *e;
    return e;
}

Result<std::uint64_t> Holdings::map_here(const Extent& e, std::uint64_t rights) {
    if (window_count_ == room) return Status::no_memory;
    const Result<std::uint64_t> at = node_->map_here(e, rights);
    if (at) windows_[window_count_++] = {e, *at};
    return at;
}

Status Holdings::allocate_ram(std::uint64_t bytes, std::uint64_t numa_node, Ram& ram) {
    if (extent_count_ + Ram::max_extents > extent_room) return Status::no_memory;
    const Status s = node_->allocate_ram(bytes, numa_node, ram);
    for (unsigned i = 0; i < ram.count; ++i) extents_[extent_count_++] = ram.extent[i];
    return s;
}

Status Holdings::allocate_ram_piece(std::uint64_t bytes, std::uint64_t numa_node, Ram& ram,
                                    bool& done) {
    const unsigned before = ram.count;
    if (extent_count_ == extent_room) return Status::no_memory;
    const Status s = node_->allocate_ram_piece(bytes, numa_node, ram, done);
    if (ram.count != before) extents_[extent_count_++] = ram.extent[before];
    return s;
}

Result<std::uint64_t> Holdings::map_here(const Ram& ram, std::uint64_t rights) {
    if (window_count_ == room) return Status::no_memory;
    const Result<std::uint64_t> at = node_->map_here(ram, rights);
    if (at) windows_[window_count_++] = {{no_slot, 0, ram.size}, *at};
    return at;
}

Slot Holdings::new_slot() {
    if (slot_count_ == room) fail("init holds too much for one purpose", Status::no_memory);
    return slots_[slot_count_++] = node_->new_slot();
}

Status Holdings::create_event(Slot& event) {
    const Result<Extent> storage = allocate(storage_small);
    if (!storage) return storage.status();
    event = new_slot();
    return create(ObjectType::event, event, storage->slot);
}

bool Holdings::release_piece() {
    if (extent_count_ == 0) {
        release();
        return true;
    }
    node_->release(extents_[--extent_count_]);
    return false;
}

void Holdings::release() {
    while (extent_count_ != 0) node_->release(extents_[--extent_count_]);
    while (window_count_ != 0) {
        --window_count_;
        node_->give_back_window(windows_[window_count_].extent, windows_[window_count_].at);
    }
    while (slot_count_ != 0) node_->give_back_slot(slots_[--slot_count_]);
}

}  // namespace margay::init
