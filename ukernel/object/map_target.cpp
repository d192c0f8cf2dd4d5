#include "ukernel/object/map_target.hpp"

#include <new>

#include "ukernel/arch/x86_64/iommu/iommu.hpp"
#include "ukernel/core/feature.hpp"
#include "ukernel/object/space.hpp"

namespace margay {

PageTable<FramePool> MapTarget::tables() {
    return PageTable<FramePool>{pool_, root_, features().gigabyte_pages ? 2u : 1u};
}

void MapTarget::init_mappings(Kind kind, HostPhys root, Mapping* records, std::uint64_t count,
                              HostPhys pool_begin, HostPhys pool_end) {
    kind_ = kind;
    root_ = root;
    records_ = records;
    record_count_ = count;
    pool_.fill(pool_begin, pool_end);
}

Mapping* MapTarget::take_record() {
    if (Mapping* m = free_records_) {
        free_records_ = m->next;
        return new (m) Mapping{};
    }
    if (records_used_ == record_count_) return nullptr;
    return new (&records_[records_used_++]) Mapping{};
}

void MapTarget::release_record(Mapping& m) {
    if (m.type == mapping_node) {
        (m.previous != nullptr ? m.previous->next : mappings_) = m.next;
        if (m.next != nullptr) m.next->previous = m.previous;
    }
    m.type = ObjectType::none;
    m.next = free_records_;
    free_records_ = &m;
}

void MapTarget::enter_record(Mapping& m) {
    m.type = mapping_node;
    m.target = this;
    m.previous = nullptr;
    m.next = mappings_;
    if (mappings_ != nullptr) mappings_->previous = &m;
    mappings_ = &m;
}

FramePool::Released MapTarget::remove(Mapping& m) {
    if (m.memory == MemoryType::ports) {
        static_cast<Space*>(this)->permissions.intercept_ports(m.address, m.size);
        return {};
    }
    if (is_dma())
        with_dma_tables(iommu::dma_format(),
                        [&m](auto, auto tables) { tables.unmap(m.address, m.size); });
    else
        tables().unmap(m.address, m.size);
    entries_removed();
    return pool_.take_released();
}

}  // namespace margay
