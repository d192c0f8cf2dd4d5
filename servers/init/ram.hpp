// RAM of a guest, or room for a copy of it: in one extent, or in several where one is not to be had. Addresses within it
// go on from one extent to the next.
#pragma once
#include "libipc/mapping.hpp"

namespace margay::init {

struct Ram {
    static constexpr unsigned max_extents = 32;
    Extent extent[max_extents];  // all of whole large pages, but the last may end between
    unsigned count = 0;
    std::uint64_t size = 0;  // bytes
};

// Maps [offset, offset + size) of it at the address, one piece after the other. As map_all.
[[nodiscard]] inline Status map_ram(const Ram& ram, Slot target, std::uint64_t address,
                                    std::uint64_t offset, std::uint64_t size,
                                    std::uint64_t rights) {
    std::uint64_t begin = 0;  // of the extent
    for (unsigned i = 0; i < ram.count && size != 0; ++i) {
        const Extent& e = ram.extent[i];
        if (offset < begin + e.size) {
            const std::uint64_t within = offset - begin;
            const std::uint64_t now = size < e.size - within ? size : e.size - within;
            const Status s = map_all(e, target, address, within, now, rights);
            if (s != Status::ok) return s;
            address += now, offset += now, size -= now;
        }
        begin += e.size;
    }
    return size == 0 ? Status::ok : Status::bad_argument;
}

}  // namespace margay::init
