#include "servers/init/node.hpp"

#include "libipc/log.hpp"
#include "libipc/mapping.hpp"
#include "support/address.hpp"

namespace margay::init {

Node::Node(const BootInfo& info) : info_{info} {
    unsigned count = 0;
    for (unsigned i = 0; i < info.extents && count < max_boot_modules; ++i) {
        const BootExtent& e = info.extent[i];
        if (e.use == ExtentUse::module)
            modules_[count++] = {e.name, e.length, {e.slot, e.base, e.size}, nullptr};
    }
}

const Module* Node::module(std::string_view name) const {
    if (name.empty()) return nullptr;
    for (unsigned i = max_modules; i-- > 0;)
        if (name == modules_[i].name) return &modules_[i];
    return nullptr;
}

bool Node::add_module(const Module& m) {
    for (unsigned i = max_boot_modules; i < max_modules; ++i) {
        if (modules_[i].name[0] != 0) continue;
        modules_[i] = m;
        return true;
    }
    return false;
}

void Node::remove_module(std::string_view name) {
    for (unsigned i = max_boot_modules; i < max_modules; ++i) {
        if (name != modules_[i].name) continue;
        for (Image& image : images_) {
            if (image.module != &modules_[i]) continue;
            give_back_window({no_slot, 0, modules_[i].size()},
                             reinterpret_cast<std::uint64_t>(image.bytes));
            image = Image{};
        }
        modules_[i] = Module{};
    }
}

Result<const Image*> Node::image(std::string_view name, const char*& why) {
    const Module* m = module(name);
    if (m == nullptr) {
        why = "there is no such module";
        return Status::not_found;
    }
    Image *image = nullptr, *free = nullptr;
    for (Image& i : images_) {
        if (i.module == m) image = &i;
        if (i.module == nullptr && free == nullptr) free = &i;
    }
    if (image == nullptr) {
        if (free == nullptr) {
            why = "too many different programs";
            return Status::no_memory;
        }
        const Result<std::uint64_t> at = m->ram != nullptr ? map_here(*m->ram, map_right::read)
                                                           : map_here(m->extent, map_right::read);
        if (!at) {
            why = "the module cannot be mapped";
            return at.status();
        }
        image = free;
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

Result<Extent> Node::ask_for(PmemCall what, std::uint64_t bytes, std::uint64_t alignment,
                             std::uint64_t numa_node, std::uint64_t offset) {
    constexpr auto ram = static_cast<std::uint64_t>(MemoryType::ram);
    const Message request{static_cast<std::uint64_t>(what),
                          {bytes, alignment, ram, numa_node, offset}};
    Message m = request;
    Status s = memory_->ask(m);
    if (s != Status::ok) return s;
    // What is being cleared may be what is missing.
    if (m.label == static_cast<std::uint64_t>(Status::no_memory) && memory_->await_cleared()) {
        m = request;
        s = memory_->ask(m);
        if (s != Status::ok) return s;
    }
    if (m.label == pmem_more) return Extent{};
    if (m.label != 0) return static_cast<Status>(m.label);
    const Extent e{new_slot(), m.words[0], m.words[1]};
    s = carve(e.slot, memory_->root(m.words[2]), e.base, e.size, carve_flag::estate);
    if (s == Status::ok) return e;
    memory_->release(e.base);
    give_back_slot(e.slot);
    return s;
}

Result<Extent> Node::allocate(std::uint64_t bytes, std::uint64_t alignment) {
    if (!from_bootstrap_) {
        Result<Extent> e = Extent{};
        while (e && e->size == 0) e = ask_for(PmemCall::allocate, bytes, alignment, any_node, 0);
        return e;
    }
    const std::uint64_t size = align_up(bytes, page_size);
    if (size > bootstrap_.size) return Status::no_memory;
    const Slot slot = new_slot();
    const Status s = carve(slot, bootstrap_.slot, bootstrap_.base, size);
    if (s != Status::ok) {
        give_back_slot(slot);
        return s;
    }
    const Extent e{slot, bootstrap_.base, size};
    bootstrap_.base += size;
    bootstrap_.size -= size;
    return e;
}

Status Node::allocate_ram(std::uint64_t bytes, std::uint64_t numa_node, Ram& ram) {
    ram.count = 0;
    ram.size = 0;
    Status s = has_free(bytes) ? Status::ok : Status::no_memory;
    for (bool done = false; s == Status::ok && !done;)
        s = allocate_ram_piece(bytes, numa_node, ram, done);
    return s;
}

Status Node::allocate_ram_piece(std::uint64_t bytes, std::uint64_t numa_node, Ram& ram,
                                bool& done) {
    done = false;
    const std::uint64_t total = align_up(bytes, large_page);
    if (ram.count == Ram::max_extents) return Status::no_memory;
    Result<Extent> e = Status::no_memory;
    for (const std::uint64_t node : {numa_node, any_node}) {
        e = ask_for(PmemCall::part, total - ram.size, large_page, node, ram.size);
        if (e.status() != Status::no_memory) break;
    }
    if (!e) return e.status();
    if (e->size == 0) return Status::ok;
    ram.extent[ram.count++] = *e;
    ram.size += e->size;
    if (ram.size < total) return Status::ok;
    ram.extent[ram.count - 1].size -= total - bytes;
    ram.size = bytes;
    done = true;
    return Status::ok;
}

void Node::release(const Extent& e) {
    if (revoke(e.slot, revoke_flag::self) != Status::ok) return;
    give_back_slot(e.slot);
    if (e.base - kept_.base >= kept_.size) memory_->release(e.base);
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

Status Node::carve_device(const Extent& e) const {
    for (unsigned i = 0; i < info_.extents; ++i) {
        const BootExtent& from = info_.extent[i];
        if (from.use == ExtentUse::device && e.base >= from.base &&
            e.base - from.base <= from.size && e.size <= from.size - (e.base - from.base))
            return carve(e.slot, from.slot, e.base, e.size);
    }
    return Status::not_found;
}

}  // namespace margay::init
