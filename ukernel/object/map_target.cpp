#include "ukernel/object/map_target.hpp"

#include <new>

#include "ukernel/core/feature.hpp"
#include "ukernel/object/space.hpp"

namespace margay {

PageTable<FramePool> MapTarget::tables() {
    return PageTable<FramePool>{pool_, root_, features().gigabyte_pages ? 2u : 1u};
}

void MapTarget::init_mappings(bool guest, HostPhys root, Mapping* records, std::uint64_t count,
                              HostPhys pool_begin, HostPhys pool_end) {
    guest_ = guest;
    root_ = root;
    records_ = records;
    record_count_ = count;
    for (std::uint64_t i = 0; i < count; ++i) free_records_.push_back(*new (&records[i]) Mapping{});
    pool_.fill(pool_begin, pool_end);
}

Mapping* MapTarget::take_record() {
    if (free_records_.empty()) return nullptr;
    auto& m = static_cast<Mapping&>(free_records_.front());
    free_records_.pop_front();
    return &m;
}

void MapTarget::release_record(Mapping& m) {
    m.type = ObjectType::none;
    m.parent = nullptr;
    m.target = nullptr;
    free_records_.push_front(m);
}

Mapping* MapTarget::any_mapping() {
    for (; search_ < record_count_; ++search_)
        if (records_[search_].type == mapping_node) return &records_[search_];
    return nullptr;
}

void MapTarget::remove(Mapping& m) {
    if (m.memory == MemoryType::ports) {
        static_cast<Space*>(this)->permissions.intercept_ports(m.address, m.size);
        return;
    }
    tables().unmap(m.address, m.size);
    entries_removed();
}

}  // namespace margay
