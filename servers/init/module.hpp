// A file that VMs and servers are made of: a kernel, an initial RAM disk, a program. From the boot loader, or put
// over the control line while the node runs.
#pragma once
#include "servers/init/ram.hpp"

namespace margay::init {

struct Module {
    const char* name = "";     // zero-terminated; empty: there is none at this place
    std::uint64_t length = 0;  // bytes
    Extent extent;             // of a boot module; its size is in whole pages
    const Ram* ram = nullptr;  // of one that was put; likewise

    std::uint64_t size() const { return ram != nullptr ? ram->size : extent.size; }
    const Extent& first() const { return ram != nullptr ? ram->extent[0] : extent; }
    // As map_ram.
    [[nodiscard]] Status map(Slot target, std::uint64_t address, std::uint64_t offset,
                             std::uint64_t bytes, std::uint64_t rights) const {
        return ram != nullptr ? map_ram(*ram, target, address, offset, bytes, rights)
                              : map_all(extent, target, address, offset, bytes, rights);
    }
};

}  // namespace margay::init
