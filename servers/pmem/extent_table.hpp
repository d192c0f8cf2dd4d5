// The books of physical memory: disjoint half-open extents, free or owned, clean or with what their last owner left.
// First fit. Pure logic.
//
// The book lies in memory that outlives pmem. Each change is made in copies, which one store puts in the place of what
// was: whoever finds the book finds it before or after a change, never within one.
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
    std::uint64_t ticket = 0;         // the request that it was taken for
    bool dirty = false;               // of a free one: to be cleared before anybody has it
};

struct ExtentBook {
    static constexpr unsigned capacity = 4096, spare = 16;  // spare: copies while something changes

    struct Order {
        std::uint32_t count = 0;
        std::uint16_t at[capacity];  // records, sorted by base
    };
    std::uint32_t current = 0;  // the order that counts: 0 or 1
    Order orders[2];
    ExtentRecord records[capacity + spare];
};

// A free place.
struct Place {
    std::uint64_t base = 0, size = 0;
};

class ExtentTable {
  public:
    static constexpr unsigned capacity = ExtentBook::capacity;

    // Goes on with a book that is_sound(), or an empty one.
    explicit ExtentTable(ExtentBook& book);
    // Disjoint extents in order, in boot extents `begins` to `ends` of as many roots.
    static bool is_sound(const ExtentBook& book, const std::uint64_t* begins,
                         const std::uint64_t* ends, unsigned roots);

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
    Result<const ExtentRecord*> take(const Place& place, std::uint64_t owner,
                                     std::uint64_t ticket = 0);

    // Up to so many bytes of dirty memory for the one that clears, who is then their owner: they count as free. Null
    // if there is none, or no room in the books.
    const ExtentRecord* take_dirty(std::uint64_t bytes);

    // The owned extent that starts at base, or null. Records are valid until the next change.
    const ExtentRecord* find(std::uint64_t base) const;
    // Any extent of that owner, or null; or the one that was taken for a request.
    const ExtentRecord* any_of(std::uint64_t owner) const;
    const ExtentRecord* taken_for(std::uint64_t ticket) const;
    // Gives an owned extent back, and joins it with free neighbours that are as clean.
    void release(const ExtentRecord& r, bool dirty);

    // largest: neighbours count as one, whether they are clean or not.
    struct Totals {
        std::uint64_t free = 0, largest = 0, used = 0, extents = 0, dirty = 0;
    };
    Totals totals(std::uint64_t node) const;
    bool knows_node(std::uint64_t node) const;

  private:
    using Order = ExtentBook::Order;

    // Of the order that counts; within a change, of the one that will.
    unsigned count() const { return view_->count; }
    const ExtentRecord& at(unsigned i) const { return book_.records[view_->at[i]]; }
    // The first record that ends behind an address; count() if there is none.
    unsigned first_behind(std::uint64_t address) const;

    // A change: a copy of the order, in which others of these work, until it counts.
    void begin();
    void commit();
    // A record of one's own in the place of record i.
    ExtentRecord& change(unsigned i);
    // Opens a gap at index i, for a copy of r.
    ExtentRecord& insert(unsigned i, const ExtentRecord& r);
    void erase(unsigned i);
    // Cuts [base, end) out of record i; its index. The caller has seen that there is room for two more.
    unsigned cut(unsigned i, std::uint64_t base, std::uint64_t end);
    void join(unsigned i);
    // The end of the free neighbours that begin with record i, as clean as it is or, if not `clean`, in any state.
    std::uint64_t run_end(unsigned i, bool clean) const;
    bool is_free(unsigned i, std::uint64_t node, bool clean) const;
    Result<Place> search(std::uint64_t size, std::uint64_t step, std::uint64_t phase,
                         std::uint64_t node, bool clean) const;

    ExtentBook& book_;
    const Order* view_;
    Order* draft_ = nullptr;
    // Records that no order has.
    std::uint16_t unused_[capacity + ExtentBook::spare];
    unsigned unused_count_ = 0;
    std::uint16_t retired_[ExtentBook::spare];  // with this change
    unsigned retired_count_ = 0;
};

}  // namespace margay::pmem
