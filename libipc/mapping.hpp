// Mappings larger than one map call may write (max_map_leaves).
#pragma once
#include "libipc/memory_client.hpp"
#include "support/address.hpp"

namespace margay {

constexpr std::uint64_t large_page = 2 << 20;

// Maps size bytes of the extent, from offset on, at the address; in several calls if need be. Large pages
// are used where address and physical address agree modulo 2 MiB. An error leaves what was mapped before
// it: revoke the extent.
[[nodiscard]] inline Status map_all(const Extent& e, Slot target, std::uint64_t address,
                                    std::uint64_t offset, std::uint64_t size,
                                    std::uint64_t rights) {
    const bool large = (e.base + offset - address) % large_page == 0;
    // With large pages: fewer leaves than allowed, the small ones at both ends included.
    const std::uint64_t part = large ? max_map_leaves / 2 * large_page : max_map_leaves * page_size;
    while (size != 0) {
        const std::uint64_t now = size < part ? size : part;
        const Status s = map(e.slot, target, address, offset, now, rights);
        if (s != Status::ok) return s;
        address += now, offset += now, size -= now;
    }
    return Status::ok;
}

}  // namespace margay
