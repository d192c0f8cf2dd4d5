// What Domain and Space share: page tables with a pool, and mapping records.
#pragma once
#include "ukernel/memory/frame_pool.hpp"
#include "ukernel/memory/page_table.hpp"
#include "ukernel/object/node.hpp"

namespace margay {

// One bit per core.
using CoreMask = std::uint64_t;
static_assert(max_cores <= 64);

class MapTarget {
  public:
    // Cores on which translations of this target can be cached.
    CoreMask cores = 0;
    bool dying = false;     // what it holds is being taken away: it takes nothing more
    bool settling = false;  // in the list of targets touched by the revocation step under way

    FramePool& pool() { return pool_; }
    HostPhys root() const { return root_; }
    bool is_guest() const { return guest_; }
    PageTable<FramePool> tables();

    // A free mapping record, or null. It comes back with release_record.
    Mapping* take_record();
    void release_record(Mapping& m);
    // Any mapping of this target that is in use, or null.
    Mapping* any_mapping();

    // Removes a mapping's leaves (no shootdown) and, for ports, its permissions.
    void remove(Mapping& m);

    std::uint64_t generation() const { return generation_; }
    // Leaves were removed: guests must not use translations from before.
    void entries_removed() { ++generation_; }

  protected:
    void init_mappings(bool guest, HostPhys root, Mapping* records, std::uint64_t count,
                       HostPhys pool_begin, HostPhys pool_end);

  private:
    bool guest_ = false;
    FramePool pool_;
    HostPhys root_;
    Mapping* records_ = nullptr;
    std::uint64_t record_count_ = 0;
    std::uint64_t search_ = 0;  // any_mapping: only used while the target is being destroyed
    Node::Children free_records_;
    std::uint64_t generation_ = 1;  // raised when translations were removed (ASID bookkeeping)
};

}  // namespace margay
