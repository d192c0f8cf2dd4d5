// The pmem server's interface: contiguous physical memory, by calls on its portal.
//
//   query     word 0: NUMA node or any_node  -> word 0: free bytes, word 1: largest free extent,
//                                               word 2: bytes in use, word 3: extents in use,
//                                               word 4: free bytes that are not cleared yet
//   allocate  word 0: bytes, word 1: alignment (power of two), word 2: MemoryType (ram only),
//             word 3: NUMA node or any_node
//             -> word 0: base, word 1: bytes; the Memory capability in the caller's receive slot
//   part      as allocate, of memory that may come in parts, each a multiple of the alignment (a page to 1 GiB); the
//             largest one there is, if no extent has all of it. Word 4: the part's offset in the whole; base and
//             offset agree modulo 1 GiB where there is a choice
//   release   word 0: base of an extent that the caller allocated. Everything derived from it is
//             revoked before the reply.
//   forget    word 0: badge. Only for the supervisor: releases everything that client holds.
//   clear     only for the one that clears: what it was given before is clean; the next piece of memory that is not, its
//             capability in the receive slot -> word 0: base, word 1: bytes. not_found: there is none
//
// What comes back is cleared before anybody else gets it: at leisure, by a client of a low priority, or at the latest
// when it is allocated. What was free when the node started is not cleared.
//
// The reply's label is a Status: ok, no_memory (no extent is large enough, or the books are full),
// bad_argument, not_found (no such extent or node), no_right (not the caller's, or not the supervisor).
#pragma once
#include <cstdint>

#include "proto/kernel.hpp"

namespace margay {

enum class PmemCall : std::uint64_t {
    query = 0,
    allocate = 1,
    release = 2,
    forget = 3,
    part = 4,
    clear = 5,
};

constexpr std::uint64_t any_node = ~0ull;
// The badges of the portal capabilities of the supervisor and of the one that clears; clients have others, never 0.
constexpr std::uint64_t pmem_supervisor = 1;
constexpr std::uint64_t pmem_clearer = 2;

}  // namespace margay
