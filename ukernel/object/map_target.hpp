// What Domain, Space and DmaSpace share: page tables with a pool, and mapping records.
#pragma once
#include "ukernel/arch/x86_64/iommu/dma_tables.hpp"
#include "ukernel/core/core_set.hpp"
#include "ukernel/core/spin_lock.hpp"
#include "ukernel/memory/frame_pool.hpp"
#include "ukernel/memory/page_table.hpp"
#include "ukernel/tree/node.hpp"

namespace margay {

class MapTarget {
  public:
    enum class Kind : std::uint8_t { native, guest, dma };

    // Cores that can have translations of this target, or look into what it holds.
    CoreSet cores;
    // Over tables, pool, records, a Domain's slots and threads, a Space's vCPUs.
    SpinLock guard;
    // While it is taken apart: its threads or vCPUs have ended, and who ran on them is out of the kernel.
    bool contexts_ended = false;

    FramePool& pool() { return pool_; }
    HostPhys root() const { return root_; }
    bool is_guest() const { return kind_ == Kind::guest; }
    bool is_dma() const { return kind_ == Kind::dma; }
    // Of a target that processors walk.
    PageTable<FramePool> tables();
    // f(Format{}, tables) of one that IOMMUs do.
    template <typename F>
    auto with_dma_tables(const iommu::DmaFormat& format, F f) {
        return iommu::with_dma_tables(format, pool_, root_, f);
    }

    // A free mapping record, or null. It comes back with release_record.
    Mapping* take_record();
    // Nothing is entered: the record goes back.
    void release_record(Mapping& m);
    // The mapping is one of the target's from now on.
    void enter_record(Mapping& m);
    // Any mapping of this target, or null.
    Mapping* any_mapping() const { return mappings_; }

    // Removes a mapping's leaves or ports; translations of them are still to be flushed. Returns the
    // tables that became empty: they are handed out again after give_back().
    FramePool::Released remove(Mapping& m);

    std::uint64_t generation() const { return __atomic_load_n(&generation_, __ATOMIC_ACQUIRE); }
    // Leaves were removed: guests must not use translations from before.
    void entries_removed() { __atomic_fetch_add(&generation_, 1, __ATOMIC_RELEASE); }

  protected:
    void init_mappings(Kind kind, HostPhys root, Mapping* records, std::uint64_t count,
                       HostPhys pool_begin, HostPhys pool_end);

  private:
    Kind kind_ = Kind::native;
    FramePool pool_;
    HostPhys root_;
    Mapping* records_ = nullptr;
    std::uint64_t record_count_ = 0;
    std::uint64_t records_used_ = 0;   // behind these no record was ever taken
    Mapping* free_records_ = nullptr;  // through `next`
    Mapping* mappings_ = nullptr;      // entered ones, both ways
    std::uint64_t generation_ = 1;     // raised when translations were removed (ASID bookkeeping)
};

}  // namespace margay
