// Clearing memory, and the one who does it at leisure.
#pragma once
#include <atomic>
#include <cstring>

#include "libipc/mapping.hpp"
#include "proto/startup.hpp"

namespace margay::pmem {

// Names of start-up items. Both have the boot extents `ram` and a Domain; pmem has `book` and the one that clears has the
// others, the work being the sign that it is that.
constexpr const char* ram_item = "ram";        // a boot extent, its NUMA node
constexpr const char* domain_item = "domain";  // its own Domain, right::map
constexpr const char* book_item = "book";      // pmem's books
constexpr const char* work_item =
    "work";  // ClearWork, and the Event that says that a piece is clean
constexpr const char* dirty_item = "dirty";  // Event: there is a piece to clear

// What is taken in hand at once, in bytes: for so long it is out of reach.
constexpr std::uint64_t clear_piece = 256 << 10;

// Writes zeros over an extent that nobody else uses. The mapping goes with a revocation of the extent. progress: counts each
// large page, if it is there.
[[nodiscard]] inline Status clear_memory(const Extent& e, Slot domain,
                                         std::atomic<std::uint64_t>* progress = nullptr) {
    constexpr std::uint64_t window = 0x2000'0000'0000, most = 1 << 30;
    for (std::uint64_t done = 0; done < e.size;) {
        const std::uint64_t at = window + (e.base + done) % large_page;
        const std::uint64_t size = e.size - done < most ? e.size - done : most;
        Status s = map_all(e, domain, at, done, size, map_right::read_write);
        if (s != Status::ok) return s;
        for (std::uint64_t offset = 0; offset < size; offset += large_page) {
            const std::uint64_t rest = size - offset;
            std::memset(reinterpret_cast<void*>(at + offset), 0,
                        rest < large_page ? rest : large_page);
            if (progress != nullptr) progress->fetch_add(1, std::memory_order_relaxed);
        }
        s = revoke(e.slot);
        if (s != Status::ok) return s;
        done += size;
    }
    return Status::ok;
}

// The program of the one that clears: a piece after the other, as long as there is something.
[[noreturn]] void clear_at_leisure(const StartupItem& work);

}  // namespace margay::pmem
