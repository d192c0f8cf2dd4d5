// The pmem server's interface: contiguous physical memory, by calls on its portal. init is its only client. pmem decides
// which range is whose; the capabilities are made by init from those to the boot extents, of which pmem has copies: what
// was given out does not end with pmem.
//
//   query     word 0: NUMA node or any_node  -> word 0: free bytes, word 1: largest free extent,
//                                               word 2: bytes in use, word 3: extents in use,
//                                               word 4: free bytes that are not cleared yet
//   allocate  word 0: bytes, word 1: alignment (power of two), word 2: MemoryType (ram only),
//             word 3: NUMA node or any_node, word 5: a number that no other request has
//             -> word 0: base, word 1: bytes, word 2: the boot extent that it lies in, counted from 0 in the order of
//             the items `ram` of pmem's start-up block
//   part      as allocate, of memory that may come in parts, each a multiple of the alignment (a page to 1 GiB); the
//             largest one there is, if no extent has all of it. Word 4: the part's offset in the whole; base and
//             offset agree modulo 1 GiB where there is a choice
//   release   word 0: base of an extent that was allocated. Its capability and everything derived from it are gone
//   clear     word 0: 1: the piece of memory at base word 1, which this request gave before, has been cleared;
//             word 2: 1: another piece is wanted -> as allocate. not_found: there is none
//
// What comes back is cleared before anybody else gets it: at leisure, by the program of pmem in another role (ClearWork),
// or at the latest when it is allocated, by pmem_piece in each request. What was free when the node started is not cleared.
//
// The reply's label is pmem_more if there is more to be cleared for it (make the request again), or a Status: ok, no_memory (no extent is large enough, or the books are full),
// bad_argument, not_found (no such extent or node), no_right (not init's).
//
// pmem may die in any request. Its books lie in memory of init's (item `book`), and the next one goes on with them. A
// request whose caller has got no answer is made again with pmem_again in its label: what was done is not done twice.
#pragma once
#include <atomic>
#include <cstdint>

#include "proto/kernel.hpp"

namespace margay {

enum class PmemCall : std::uint64_t {
    query = 0,
    allocate = 1,
    release = 2,
    part = 4,
    clear = 5,
};
constexpr std::uint64_t pmem_again = 1 << 8;
constexpr std::uint64_t pmem_more = 1 << 9;
constexpr std::uint64_t pmem_piece = 512 << 10;  // bytes

constexpr std::uint64_t any_node = ~0ull;
// The badge of init's portal capability, and the owner of what is being cleared.
constexpr std::uint64_t pmem_supervisor = 1;
constexpr std::uint64_t pmem_clearer = 2;

// Bytes of the books: all zero at first. They begin with a 64-bit word that pmem counts up as it gets on with a long request;
// the rest is pmem's own.
constexpr std::uint64_t pmem_book_bytes = 256 << 10;

// What init shares with the one that clears: a piece of memory at a time.
struct ClearWork {
    std::atomic<std::uint32_t> wanted{0};  // init's, counted up when there is a piece
    std::atomic<std::uint32_t> done{0};    // the other's: it is clean when both are equal
    std::uint64_t base = 0, size = 0;      // bytes
    std::uint64_t root = 0;  // the boot extent it lies in, as in the answer to allocate
};

}  // namespace margay
