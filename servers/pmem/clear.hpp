// Clearing memory, and the one who does it at leisure.
#pragma once
#include <cstring>

#include "libipc/mapping.hpp"

namespace margay::pmem {

// Names of start-up items. pmem has the first three and the one that clears has all, its portal to pmem being the
// sign that it is that.
constexpr const char* domain_item = "domain";  // its own Domain, right::map
constexpr const char* dirty_item = "dirty";    // Event: there is something to clear
constexpr const char* done_item = "done";      // Event: what the one that clears had is clean
constexpr const char* pmem_item = "pmem";

// What is taken in hand at once, in bytes: for so long it is out of reach.
constexpr std::uint64_t clear_piece = 256 << 10;

// Writes zeros over an extent that nobody else uses. The mapping goes with a revocation of the extent.
[[nodiscard]] inline Status clear_memory(const Extent& e, Slot domain) {
    constexpr std::uint64_t window = 0x2000'0000'0000, most = 1 << 30;
    for (std::uint64_t done = 0; done < e.size;) {
        const std::uint64_t at = window + (e.base + done) % large_page;
        const std::uint64_t size = e.size - done < most ? e.size - done : most;
        Status s = map_all(e, domain, at, done, size, map_right::read | map_right::write);
        if (s != Status::ok) return s;
        std::memset(reinterpret_cast<void*>(at), 0, size);
        s = revoke(e.slot);
        if (s != Status::ok) return s;
        done += size;
    }
    return Status::ok;
}

// The program of the one that clears: a piece after the other, as long as there is something.
[[noreturn]] void clear_at_leisure(Slot pmem);

}  // namespace margay::pmem
