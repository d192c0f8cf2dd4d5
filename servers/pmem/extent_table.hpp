// The books of physical memory: disjoint half-open extents, free or owned, clean or with what their last owner left.
// First fit. Pure logic.
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
    bool dirty = false;               // of a free one: to be cleared before anybody has it
};

// A free place.
struct Place {
    std::uint64_t base = 0, size = 0;
};

class ExtentTable {
  public:
    static constexpr unsigned capacity = 4096;

    // A boot extent, page-aligned. `no_memory` if the books are full, `in_use` if it overlaps.
    Status add(std::uint64_t base, std::uint64_t size, std::uint32_t node, std::uint32_t root);

    // The first free place; a clean one if there is one. bytes: > 0, rounded up to pages; alignment: power of two
    // (less than a page counts as a page). `bad_argument`, `no_memory`.
    Result<Place> find_whole(std::uint64_t bytes, std::uint64_t alignment,
                             std::uint64_t node) const;
    // The same for memory that may come in parts, each a multiple of the alignment: the largest place there is, if
    // none has all of it. phase: offset of this part in what it becomes a part of; where there is a choice, base and
    // phase agree modulo 1 GiB, for pages of that size.
    Result<Place> find_part(std::uint64_t bytes, std::uint64_t alignment, std::uint64_t phase,
                            std::uint64_t node) const;
    // The first dirty record that begins in the place, or reaches into it; null if it is clean.
    const ExtentRecord* dirty_in(const Place& place) const;
    // [base, end), which lies in one free record, has been cleared. `no_memory` if the books are full.
    Status cleared(std::uint64_t base, std::uint64_t end);
    // A clean place that was found has an owner from now on. `no_memory` if the books are full.
    Result<ExtentRecord*> take(const Place& place, std::uint64_t owner);

    // Up to so many bytes of dirty memory for the one that clears, who is then their owner: they count as free. Null
    // if there is none, or no room in the books.
    ExtentRecord* take_dirty(std::uint64_t bytes);

    // The owned extent that starts at base, or null.
    ExtentRecord* find(std::uint64_t base);
    // Any extent of that owner, or null.
    ExtentRecord* any_of(std::uint64_t owner);
    // Gives an owned extent back, and joins it with free neighbours that are as clean.
    void release(ExtentRecord& r, bool dirty);

    // largest: neighbours count as one, whether they are clean or not.
    struct Totals {
        std::uint64_t free = 0, largest = 0, used = 0, extents = 0, dirty = 0;
    };
    Totals totals(std::uint64_t node) const;
    bool knows_node(std::uint64_t node) const;

  private:
    // Opens a gap at index i. False if full.
    bool insert(unsigned i);
    void erase(unsigned i);
    // Cuts [base, end) out of record i; its index. The caller has seen that there is room for two more.
    unsigned cut(unsigned i, std::uint64_t base, std::uint64_t end);
    void join(unsigned i);
    // The end of the free neighbours that begin with record i, as clean as it is or, if not `clean`, in any state.
    std::uint64_t run_end(unsigned i, bool clean) const;
    bool is_free(unsigned i, std::uint64_t node, bool clean) const;
    Result<Place> search(std::uint64_t size, std::uint64_t step, std::uint64_t phase,
                         std::uint64_t node, bool clean) const;

    ExtentRecord records_[capacity];  // sorted by base
    unsigned count_ = 0;
};

}  // namespace margay::pmem
