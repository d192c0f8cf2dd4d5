#include "servers/init/module_room.hpp"

#include <cstring>

#include "libipc/mapping.hpp"
#include "support/address.hpp"

namespace margay::init {

// A small one in pages, a large one in large pages, of several extents if need be.
Status NodeModuleRoom::take(unsigned place, std::uint64_t bytes, std::byte*& at) {
    Shelf& shelf = shelves_[place];
    if (bytes > node_.memory_use().free) return Status::no_memory;
    const std::uint64_t size = align_up(bytes, page_size);
    Status s = Status::ok;
    if (size < large_page) {
        const Result<Extent> e = node_.allocate(size);
        s = e.status();
        if (e) shelf.ram.extent[0] = *e;
        shelf.ram.count = e ? 1 : 0;
        shelf.ram.size = size;
    } else {
        s = node_.allocate_ram(size, any_node, shelf.ram);
    }
    if (s == Status::ok) {
        const Result<std::uint64_t> window = node_.map_here(shelf.ram, map_right::read_write);
        s = window.status();
        if (window) shelf.at = *window;
    }
    if (s != Status::ok) {
        drop(place);
        return s;
    }
    at = reinterpret_cast<std::byte*>(shelf.at);
    std::memset(at + bytes, 0, size - bytes);
    return s;
}

Status NodeModuleRoom::publish(unsigned place, const char* name, std::uint64_t bytes) {
    Shelf& shelf = shelves_[place];
    for (unsigned i = 0; i < shelf.ram.count; ++i) (void)revoke(shelf.ram.extent[i].slot);
    node_.give_back_window({no_slot, 0, shelf.ram.size}, shelf.at);
    shelf.at = 0;
    if (!node_.add_module({name, bytes, {}, &shelf.ram})) return Status::no_memory;
    shelf.name = name;
    return Status::ok;
}

void NodeModuleRoom::drop(unsigned place) {
    Shelf& shelf = shelves_[place];
    node_.release(shelf.ram);
    if (shelf.at != 0) node_.give_back_window({no_slot, 0, shelf.ram.size}, shelf.at);
    if (shelf.name != nullptr) node_.remove_module(shelf.name);
    shelf = Shelf{};
}

bool NodeModuleRoom::is_boot_module(std::string_view name) {
    for (unsigned i = 0; i < Node::max_boot_modules; ++i)
        if (const Module* m = node_.module_at(i); m != nullptr && name == m->name) return true;
    return false;
}

}  // namespace margay::init
