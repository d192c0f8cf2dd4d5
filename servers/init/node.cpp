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

Result<const Image*> Node::image(std::string_view name, const char*& why) {
    const BootExtent* m = module(name);
    if (m == nullptr) {
        why = "there is no such boot module";
        return Status::not_found;
    }
    Image* image = nullptr;
    for (unsigned i = 0; i < image_count_; ++i)
        if (images_[i].module == m) image = &images_[i];
    if (image == nullptr) {
        if (image_count_ == max_images) {
            why = "too many different programs";
            return Status::no_memory;
        }
        const Result<std::uint64_t> at =
            map_here(Extent{m->slot, m->base, m->size}, map_right::read);
        if (!at) {
            why = "the boot module cannot be mapped";
            return at.status();
        }
        image = &images_[image_count_++];
        *image = inspect_image(*m, reinterpret_cast<const std::uint8_t*>(*at));
    }
    if (image->wrong != nullptr) {
        why = image->wrong;
        return Status::corrupt;
    }
    return image;
}

Slot Node::new_slot() {
    if (free_slot_count_ != 0) return free_slots_[--free_slot_count_];
    if (next_slot_ >= init_slots) fail("init has no capability slot left", Status::no_memory);
    return next_slot_++;
}

void Node::give_back_slot(Slot slot) {
    if (free_slot_count_ < max_free) free_slots_[free_slot_count_++] = slot;
}

std::uint64_t Node::new_range(std::uint64_t bytes, std::uint64_t alignment) {
    next_address_ = align_up(next_address_, alignment);
    const std::uint64_t at = next_address_;
    next_address_ += align_up(bytes, page_size);
    return at;
}

Result<Extent> Node::allocate(std::uint64_t bytes, std::uint64_t alignment) {
    const Slot slot = new_slot();
    if (pmem_ != no_slot) {
        const Result<Extent> e = allocate_memory(pmem_, slot, bytes, alignment);
        if (!e) give_back_slot(slot);
        return e;
    }
    const std::uint64_t size = align_up(bytes, page_size);
    if (size > bootstrap_.size) return Status::no_memory;
    const Status s = carve(slot, bootstrap_.slot, bootstrap_.base, size);
    if (s != Status::ok) return s;
    const Extent e{slot, bootstrap_.base, size};
    bootstrap_.base += size;
    bootstrap_.size -= size;
    return e;
}

Status Node::allocate_ram(std::uint64_t bytes, std::uint64_t numa_node, Ram& ram) {
    ram.count = 0;
    ram.size = 0;
    const std::uint64_t total = align_up(bytes, large_page);
    while (ram.size < total) {
        if (ram.count == Ram::max_extents) return Status::no_memory;
        const Slot slot = new_slot();
        Result<Extent> e = Status::no_memory;
        for (const std::uint64_t node : {numa_node, any_node}) {
            e = margay::allocate_part(pmem_, slot, total - ram.size, large_page, ram.size, node);
            if (e.status() != Status::no_memory) break;
        }
        if (!e) {
            give_back_slot(slot);
            return e.status();
        }
        ram.extent[ram.count++] = *e;
        ram.size += e->size;
    }
    ram.extent[ram.count - 1].size -= total - bytes;
    ram.size = bytes;
    return Status::ok;
}

MemoryUse Node::memory_use() const {
    const Result<MemoryUse> use = query_memory_use(pmem_);
    return use ? *use : MemoryUse{};
}

void Node::release(const Extent& e) {
    if (release_memory(pmem_, e.base) == Status::ok) give_back_slot(e.slot);
}

std::uint64_t Node::take_window(std::uint64_t bytes) {
    ++windows_;
    const std::uint64_t size = align_up(bytes, page_size) + large_page;
    for (unsigned i = 0; i < free_window_count_; ++i) {
        if (free_windows_[i].size != size) continue;
        const std::uint64_t window = free_windows_[i].at;
        free_windows_[i] = free_windows_[--free_window_count_];
        return window;
    }
    return new_range(size, large_page);
}

Result<std::uint64_t> Node::map_here(const Ram& ram, std::uint64_t rights) {
    const std::uint64_t at = take_window(ram.size);
    const Status s = map_ram(ram, init_slot::domain, at, 0, ram.size, rights);
    if (s != Status::ok) {
        give_back_window({no_slot, 0, ram.size}, at);
        return s;
    }
    return at;
}

Result<std::uint64_t> Node::map_here(const Extent& e, std::uint64_t rights) {
    // At an address that agrees with the physical one modulo 2 MiB, for large pages.
    const std::uint64_t at = take_window(e.size) + e.base % large_page;
    const Status s = map_all(e, init_slot::domain, at, 0, e.size, rights);
    if (s != Status::ok) {
        give_back_window(e, at);
        return s;
    }
    return at;
}

void Node::give_back_window(const Extent& e, std::uint64_t at) {
    --windows_;
    if (free_window_count_ == max_free) return;
    free_windows_[free_window_count_++] = {at - e.base % large_page,
                                           align_up(e.size, page_size) + large_page};
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
