// The pmem server's interface: contiguous physical memory, by calls on its portal.
//
//   query     word 0: NUMA node or any_node  -> word 0: free bytes, word 1: largest free extent,
//                                               word 2: bytes in use, word 3: extents in use
//   allocate  word 0: bytes, word 1: alignment (power of two), word 2: MemoryType (ram only),
//             word 3: NUMA node or any_node
//             -> word 0: base, word 1: bytes; the Memory capability in the caller's receive slot
//   release   word 0: base of an extent that the caller allocated. Everything derived from it is
//             revoked before the reply.
//   forget    word 0: badge. Only for the supervisor: releases everything that client holds.
//
// The reply's label is a Status: ok, no_memory (no extent is large enough, or the books are full),
// bad_argument, not_found (no such extent or node), no_right (not the caller's, or not the supervisor).
#pragma once
#include <cstdint>

#include "proto/kernel.hpp"

namespace margay {

enum class PmemCall : std::uint64_t { query = 0, allocate = 1, release = 2, forget = 3 };

constexpr std::uint64_t any_node = ~0ull;
// The badge of the supervisor's portal capability; clients have others, never 0.
constexpr std::uint64_t pmem_supervisor = 1;

}  // namespace margay
