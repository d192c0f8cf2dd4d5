#include "servers/pmem/extent_table.hpp"

#include "support/address.hpp"

namespace margay::pmem {

bool ExtentTable::insert(unsigned i) {
    if (count_ == capacity) return false;
    for (unsigned k = count_; k > i; --k) records_[k] = records_[k - 1];
    ++count_;
    return true;
}

void ExtentTable::erase(unsigned i) {
    --count_;
    for (unsigned k = i; k < count_; ++k) records_[k] = records_[k + 1];
}

Status ExtentTable::add(std::uint64_t base, std::uint64_t size, std::uint32_t node,
                        std::uint32_t root) {
    if (size == 0 || !is_aligned(base | size, page_size) || base + size < base)
        return Status::bad_argument;
    unsigned i = 0;
    while (i < count_ && records_[i].base < base) ++i;
    if (i > 0 && records_[i - 1].end > base) return Status::in_use;
    if (i < count_ && records_[i].base < base + size) return Status::in_use;
    if (!insert(i)) return Status::no_memory;
    records_[i] = {base, base + size, 0, node, root, no_slot, false};
    return Status::ok;
}

unsigned ExtentTable::cut(unsigned i, std::uint64_t base, std::uint64_t end) {
    const ExtentRecord r = records_[i];
    if (base != r.base) {
        insert(i);
        records_[i] = r;
        records_[i].end = base;
        ++i;
    }
    if (end != r.end) {
        insert(i + 1);
        records_[i + 1] = r;
        records_[i + 1].base = end;
    }
    records_[i] = r;
    records_[i].base = base;
    records_[i].end = end;
    return i;
}

bool ExtentTable::is_free(unsigned i, std::uint64_t node, bool clean) const {
    const ExtentRecord& r = records_[i];
    return r.owner == 0 && (node == any_node || r.node == node) && !(clean && r.dirty);
}

std::uint64_t ExtentTable::run_end(unsigned i, bool clean) const {
    unsigned k = i;
    while (k + 1 < count_ && records_[k + 1].base == records_[k].end &&
           records_[k + 1].root == records_[k].root && is_free(k + 1, any_node, clean))
        ++k;
    return records_[k].end;
}

// base = phase modulo step.
Result<Place> ExtentTable::search(std::uint64_t size, std::uint64_t step, std::uint64_t phase,
                                  std::uint64_t node, bool clean) const {
    for (unsigned i = 0; i < count_; ++i) {
        if (!is_free(i, node, clean)) continue;
        const std::uint64_t begin = records_[i].base, end = run_end(i, clean);
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
    for (unsigned i = 0; i < count_; ++i) {
        if (!is_free(i, node, false)) continue;
        const std::uint64_t base = align_up(records_[i].base, alignment);
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
    for (unsigned i = 0; i < count_; ++i) {
        const ExtentRecord& r = records_[i];
        if (r.owner == 0 && r.dirty && r.end > place.base && r.base < place.base + place.size)
            return &r;
    }
    return nullptr;
}

Status ExtentTable::cleared(std::uint64_t base, std::uint64_t end) {
    for (unsigned i = 0; i < count_; ++i) {
        if (records_[i].owner != 0 || records_[i].base > base || records_[i].end < end) continue;
        if (count_ + 2 > capacity) return Status::no_memory;
        i = cut(i, base, end);
        records_[i].dirty = false;
        join(i);
        return Status::ok;
    }
    return Status::not_found;
}

Result<ExtentRecord*> ExtentTable::take(const Place& place, std::uint64_t owner) {
    if (owner == 0) return Status::bad_argument;
    for (unsigned i = 0; i < count_; ++i) {
        const ExtentRecord& r = records_[i];
        if (!is_free(i, any_node, true) || r.base > place.base || r.end < place.base + place.size)
            continue;
        const unsigned more = (r.base != place.base) + (r.end != place.base + place.size);
        if (count_ + more > capacity) return Status::no_memory;
        i = cut(i, place.base, place.base + place.size);
        records_[i].owner = owner;
        return &records_[i];
    }
    return Status::not_found;
}

ExtentRecord* ExtentTable::take_dirty(std::uint64_t bytes) {
    for (unsigned i = 0; i < count_; ++i) {
        const ExtentRecord& r = records_[i];
        if (r.owner != 0 || !r.dirty) continue;
        if (r.end - r.base > bytes && count_ == capacity) return nullptr;
        i = cut(i, r.base, r.end - r.base < bytes ? r.end : r.base + bytes);
        records_[i].owner = pmem_clearer;
        return &records_[i];
    }
    return nullptr;
}

ExtentRecord* ExtentTable::find(std::uint64_t base) {
    for (unsigned i = 0; i < count_; ++i)
        if (records_[i].base == base && records_[i].owner != 0) return &records_[i];
    return nullptr;
}

ExtentRecord* ExtentTable::any_of(std::uint64_t owner) {
    if (owner == 0) return nullptr;
    for (unsigned i = 0; i < count_; ++i)
        if (records_[i].owner == owner) return &records_[i];
    return nullptr;
}

void ExtentTable::release(ExtentRecord& r, bool dirty) {
    r.owner = 0;
    r.slot = no_slot;
    r.dirty = dirty;
    join(static_cast<unsigned>(&r - records_));
}

void ExtentTable::join(unsigned i) {
    const auto joins = [](const ExtentRecord& a, const ExtentRecord& b) {
        return a.owner == 0 && b.owner == 0 && a.end == b.base && a.root == b.root &&
               a.dirty == b.dirty;
    };
    if (i + 1 < count_ && joins(records_[i], records_[i + 1])) {
        records_[i].end = records_[i + 1].end;
        erase(i + 1);
    }
    if (i > 0 && joins(records_[i - 1], records_[i])) {
        records_[i - 1].end = records_[i].end;
        erase(i);
    }
}

ExtentTable::Totals ExtentTable::totals(std::uint64_t node) const {
    Totals t;
    for (unsigned i = 0; i < count_; ++i) {
        const ExtentRecord& r = records_[i];
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
    for (unsigned i = 0; i < count_; ++i)
        if (records_[i].node == node) return true;
    return false;
}

}  // namespace margay::pmem
