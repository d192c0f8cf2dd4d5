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
    records_[i] = {base, base + size, 0, node, root, no_slot};
    return Status::ok;
}

Result<ExtentRecord*> ExtentTable::allocate(std::uint64_t bytes, std::uint64_t alignment,
                                            std::uint64_t node, std::uint64_t owner) {
    if (bytes == 0 || bytes > 1ull << 52 || owner == 0 || alignment > 1ull << 52 ||
        (alignment & (alignment - 1)) != 0)
        return Status::bad_argument;
    const std::uint64_t size = align_up(bytes, page_size);
    const std::uint64_t step = alignment < page_size ? page_size : alignment;
    for (unsigned i = 0; i < count_; ++i) {
        const ExtentRecord r = records_[i];
        if (r.owner != 0 || (node != any_node && r.node != node)) continue;
        const std::uint64_t base = align_up(r.base, step);
        if (base < r.base || base >= r.end || r.end - base < size) continue;
        const bool before = base != r.base;
        const bool behind = base + size != r.end;
        // Both splits or none.
        if (count_ + before + behind > capacity) return Status::no_memory;
        if (before) {
            insert(i);
            records_[i] = r;
            records_[i].end = base;
            ++i;
        }
        if (behind) {
            insert(i + 1);
            records_[i + 1] = r;
            records_[i + 1].base = base + size;
        }
        records_[i] = r;
        records_[i].base = base;
        records_[i].end = base + size;
        records_[i].owner = owner;
        return &records_[i];
    }
    return Status::no_memory;
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

void ExtentTable::release(ExtentRecord& r) {
    r.owner = 0;
    r.slot = no_slot;
    const auto joins = [](const ExtentRecord& a, const ExtentRecord& b) {
        return a.owner == 0 && b.owner == 0 && a.end == b.base && a.root == b.root;
    };
    auto i = static_cast<unsigned>(&r - records_);
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
        if (r.owner != 0) {
            t.used += size;
            ++t.extents;
            continue;
        }
        t.free += size;
        if (size > t.largest) t.largest = size;
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
