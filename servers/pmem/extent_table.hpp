// The books of physical memory: disjoint half-open extents, free or owned. First fit. Pure logic.
#pragma once
#include <cstdint>

#include "proto/pmem.hpp"
#include "support/result.hpp"

namespace margay::pmem {

struct ExtentRecord {
    std::uint64_t base = 0, end = 0;  // bytes, [base, end)
    std::uint64_t owner = 0;          // badge; 0: free
    std::uint32_t node = 0;           // NUMA node
    std::uint32_t root = 0;           // index of the boot extent it lies in
    Slot slot = no_slot;              // capability of an owned extent
};

class ExtentTable {
  public:
    static constexpr unsigned capacity = 1024;

    // A boot extent, page-aligned. `no_memory` if the books are full, `in_use` if it overlaps.
    Status add(std::uint64_t base, std::uint64_t size, std::uint32_t node, std::uint32_t root);

    // The first free place. bytes: > 0, rounded up to pages; alignment: power of two (less than a page
    // counts as a page). The record is owned when this returns. `bad_argument`, `no_memory`.
    Result<ExtentRecord*> allocate(std::uint64_t bytes, std::uint64_t alignment, std::uint64_t node,
                                   std::uint64_t owner);

    // The owned extent that starts at base, or null.
    ExtentRecord* find(std::uint64_t base);
    // Any extent of that owner, or null.
    ExtentRecord* any_of(std::uint64_t owner);
    // Gives an owned extent back and joins it with its free neighbours.
    void release(ExtentRecord& r);

    struct Totals {
        std::uint64_t free = 0, largest = 0, used = 0, extents = 0;
    };
    Totals totals(std::uint64_t node) const;
    bool knows_node(std::uint64_t node) const;

  private:
    // Opens a gap at index i. False if full.
    bool insert(unsigned i);
    void erase(unsigned i);

    ExtentRecord records_[capacity];  // sorted by base
    unsigned count_ = 0;
};

}  // namespace margay::pmem
