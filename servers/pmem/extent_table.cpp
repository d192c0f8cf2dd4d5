#include "servers/pmem/extent_table.hpp"

#include <atomic>
#include <cstring>

#include "support/address.hpp"

namespace margay::pmem {

ExtentTable::ExtentTable(ExtentBook& book) : book_{book}, view_{&book.orders[book.current % 2]} {
    bool used[capacity + ExtentBook::spare] = {};
    for (unsigned i = 0; i < count(); ++i) used[view_->at[i]] = true;
    for (unsigned i = capacity + ExtentBook::spare; i-- > 0;)
        if (!used[i]) unused_[unused_count_++] = static_cast<std::uint16_t>(i);
}

bool ExtentTable::is_sound(const ExtentBook& book, const std::uint64_t* begins,
                           const std::uint64_t* ends, unsigned roots) {
    if (book.current > 1) return false;
    const Order& order = book.orders[book.current];
    if (order.count > capacity) return false;
    std::uint64_t last = 0;
    for (unsigned i = 0; i < order.count; ++i) {
        if (order.at[i] >= capacity + ExtentBook::spare) return false;
        const ExtentRecord& r = book.records[order.at[i]];
        if (r.base < last || r.end <= r.base || !is_aligned(r.base | r.end, page_size) ||
            r.root >= roots || r.base < begins[r.root] || r.end > ends[r.root])
            return false;
        last = r.end;
    }
    return true;
}

unsigned ExtentTable::first_behind(std::uint64_t address) const {
    unsigned low = 0, high = count();
    while (low < high) {
        const unsigned middle = (low + high) / 2;
        if (at(middle).end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void ExtentTable::begin() {
    draft_ = &book_.orders[1 - book_.current % 2];
    draft_->count = view_->count;
    std::memcpy(draft_->at, view_->at, view_->count * sizeof(draft_->at[0]));
    view_ = draft_;
}

void ExtentTable::commit() {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    book_.current = 1 - book_.current % 2;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    draft_ = nullptr;
    while (retired_count_ != 0) unused_[unused_count_++] = retired_[--retired_count_];
}

ExtentRecord& ExtentTable::change(unsigned i) {
    const std::uint16_t own = unused_[--unused_count_];
    book_.records[own] = at(i);
    retired_[retired_count_++] = draft_->at[i];
    draft_->at[i] = own;
    return book_.records[own];
}

ExtentRecord& ExtentTable::insert(unsigned i, const ExtentRecord& r) {
    const std::uint16_t own = unused_[--unused_count_];
    book_.records[own] = r;
    std::memmove(&draft_->at[i + 1], &draft_->at[i], (draft_->count - i) * sizeof(draft_->at[0]));
    draft_->at[i] = own;
    ++draft_->count;
    return book_.records[own];
}

void ExtentTable::erase(unsigned i) {
    retired_[retired_count_++] = draft_->at[i];
    --draft_->count;
    std::memmove(&draft_->at[i], &draft_->at[i + 1], (draft_->count - i) * sizeof(draft_->at[0]));
}

Status ExtentTable::add(std::uint64_t base, std::uint64_t size, std::uint32_t node,
                        std::uint32_t root) {
    if (size == 0 || !is_aligned(base | size, page_size) || base + size < base)
        return Status::bad_argument;
    unsigned i = 0;
    while (i < count() && at(i).base < base) ++i;
    if (i > 0 && at(i - 1).end > base) return Status::in_use;
    if (i < count() && at(i).base < base + size) return Status::in_use;
    if (count() == capacity) return Status::no_memory;
    begin();
    insert(i, {base, base + size, 0, node, root, 0, false});
    commit();
    return Status::ok;
}

unsigned ExtentTable::cut(unsigned i, std::uint64_t base, std::uint64_t end) {
    const ExtentRecord r = at(i);
    if (base != r.base) insert(i++, r).end = base;
    if (end != r.end) insert(i + 1, r).base = end;
    ExtentRecord& middle = change(i);
    middle.base = base;
    middle.end = end;
    return i;
}

bool ExtentTable::is_free(unsigned i, std::uint64_t node, bool clean) const {
    const ExtentRecord& r = at(i);
    return r.owner == 0 && (node == any_node || r.node == node) && !(clean && r.dirty);
}

std::uint64_t ExtentTable::run_end(unsigned i, bool clean) const {
    unsigned k = i;
    while (k + 1 < count() && at(k + 1).base == at(k).end && at(k + 1).root == at(k).root &&
           is_free(k + 1, any_node, clean))
        ++k;
    return at(k).end;
}

// base = phase modulo step.
Result<Place> ExtentTable::search(std::uint64_t size, std::uint64_t step, std::uint64_t phase,
                                  std::uint64_t node, bool clean) const {
    for (unsigned i = 0; i < count(); ++i) {
        if (!is_free(i, node, clean)) continue;
        const std::uint64_t begin = at(i).base, end = run_end(i, clean);
        const std::uint64_t base = begin + ((phase - begin) & (step - 1));
        if (base >= begin && base < end && end - base >= size) return Place{base, size};
    }
    return Status::no_memory;
}

namespace {

constexpr std::uint64_t most = 1ull << 52;
constexpr std::uint64_t gib = 1ull << 30;

bool is_bad(std::uint64_t bytes, std::uint64_t alignment) {
    return bytes == 0 || bytes > most || alignment > most || (alignment & (alignment - 1)) != 0;
}

}  // namespace

Result<Place> ExtentTable::find_whole(std::uint64_t bytes, std::uint64_t alignment,
                                      std::uint64_t node) const {
    if (is_bad(bytes, alignment)) return Status::bad_argument;
    const std::uint64_t size = align_up(bytes, page_size);
    const std::uint64_t step = alignment < page_size ? page_size : alignment;
    const Result<Place> clean = search(size, step, 0, node, true);
    return clean ? clean : search(size, step, 0, node, false);
}

Result<Place> ExtentTable::find_part(std::uint64_t bytes, std::uint64_t alignment,
                                     std::uint64_t phase, std::uint64_t node) const {
    if (is_bad(bytes, alignment) || alignment < page_size || alignment > gib ||
        !is_aligned(bytes | phase, alignment))
        return Status::bad_argument;
    for (const bool clean : {true, false}) {
        if (bytes >= gib)
            if (const Result<Place> p = search(bytes, gib, phase, node, clean)) return p;
        if (const Result<Place> p = search(bytes, alignment, 0, node, clean)) return p;
    }
    Place largest;
    for (unsigned i = 0; i < count(); ++i) {
        if (!is_free(i, node, false)) continue;
        const std::uint64_t base = align_up(at(i).base, alignment);
        const std::uint64_t end = align_down(run_end(i, false), alignment);
        if (base < end && end - base > largest.size) largest = {base, end - base};
    }
    if (largest.size == 0) return Status::no_memory;
    // Its beginning is given up for large pages if that is the smaller part.
    const std::uint64_t skipped = (phase - largest.base) & (gib - 1);
    if (largest.size >= 2 * gib) largest = {largest.base + skipped, largest.size - skipped};
    if (largest.size > bytes) largest.size = bytes;
    return largest;
}

const ExtentRecord* ExtentTable::dirty_in(const Place& place) const {
    for (unsigned i = first_behind(place.base); i < count(); ++i) {
        const ExtentRecord& r = at(i);
        if (r.base >= place.base + place.size) break;
        if (r.owner == 0 && r.dirty) return &r;
    }
    return nullptr;
}

Status ExtentTable::cleared(std::uint64_t base, std::uint64_t end) {
    unsigned i = first_behind(base);
    if (i == count() || at(i).owner != 0 || at(i).base > base || at(i).end < end)
        return Status::not_found;
    if (count() + 2 > capacity) return Status::no_memory;
    begin();
    i = cut(i, base, end);
    change(i).dirty = false;
    join(i);
    commit();
    return Status::ok;
}

Result<const ExtentRecord*> ExtentTable::take(const Place& place, std::uint64_t owner,
                                              std::uint64_t ticket) {
    if (owner == 0) return Status::bad_argument;
    unsigned i = first_behind(place.base);
    if (i == count() || !is_free(i, any_node, true) || at(i).base > place.base ||
        at(i).end < place.base + place.size)
        return Status::not_found;
    const unsigned more = (at(i).base != place.base) + (at(i).end != place.base + place.size);
    if (count() + more > capacity) return Status::no_memory;
    begin();
    i = cut(i, place.base, place.base + place.size);
    ExtentRecord& taken = change(i);
    taken.owner = owner;
    taken.ticket = ticket;
    commit();
    return &taken;
}

const ExtentRecord* ExtentTable::take_dirty(std::uint64_t bytes) {
    for (unsigned i = 0; i < count(); ++i) {
        const ExtentRecord& r = at(i);
        if (r.owner != 0 || !r.dirty) continue;
        if (r.end - r.base > bytes && count() == capacity) return nullptr;
        begin();
        i = cut(i, r.base, r.end - r.base < bytes ? r.end : r.base + bytes);
        ExtentRecord& taken = change(i);
        taken.owner = pmem_clearer;
        commit();
        return &taken;
    }
    return nullptr;
}

const ExtentRecord* ExtentTable::find(std::uint64_t base) const {
    const unsigned i = first_behind(base);
    return i < count() && at(i).base == base && at(i).owner != 0 ? &at(i) : nullptr;
}

const ExtentRecord* ExtentTable::any_of(std::uint64_t owner) const {
    if (owner == 0) return nullptr;
    for (unsigned i = 0; i < count(); ++i)
        if (at(i).owner == owner) return &at(i);
    return nullptr;
}

const ExtentRecord* ExtentTable::taken_for(std::uint64_t ticket) const {
    for (unsigned i = 0; i < count(); ++i)
        if (at(i).ticket == ticket && at(i).owner != 0) return &at(i);
    return nullptr;
}

void ExtentTable::release(const ExtentRecord& r, bool dirty) {
    const unsigned i = first_behind(r.base);
    begin();
    ExtentRecord& released = change(i);
    released.owner = 0;
    released.ticket = 0;
    released.dirty = dirty;
    join(i);
    commit();
}

void ExtentTable::join(unsigned i) {
    const auto joins = [](const ExtentRecord& a, const ExtentRecord& b) {
        return a.owner == 0 && b.owner == 0 && a.end == b.base && a.root == b.root &&
               a.dirty == b.dirty;
    };
    if (i + 1 < count() && joins(at(i), at(i + 1))) {
        change(i).end = at(i + 1).end;
        erase(i + 1);
    }
    if (i > 0 && joins(at(i - 1), at(i))) {
        change(i - 1).end = at(i).end;
        erase(i);
    }
}

ExtentTable::Totals ExtentTable::totals(std::uint64_t node) const {
    Totals t;
    for (unsigned i = 0; i < count(); ++i) {
        const ExtentRecord& r = at(i);
        if (node != any_node && r.node != node) continue;
        const std::uint64_t size = r.end - r.base;
        if (r.owner != 0 && r.owner != pmem_clearer) {
            t.used += size;
            ++t.extents;
            continue;
        }
        t.free += size;
        if (r.dirty) t.dirty += size;
        if (r.owner != 0) continue;
        const std::uint64_t together = run_end(i, false) - r.base;
        if (together > t.largest) t.largest = together;
    }
    return t;
}

bool ExtentTable::knows_node(std::uint64_t node) const {
    if (node == any_node) return true;
    for (unsigned i = 0; i < count(); ++i)
        if (at(i).node == node) return true;
    return false;
}

}  // namespace margay::pmem
