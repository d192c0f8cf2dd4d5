// What was acquired for one purpose, a VM or one of its VMMs, and is given back together.
#pragma once
#include "servers/init/node.hpp"

namespace margay::init {

class Holdings {
  public:
    void use(Node& node) { node_ = &node; }
    Node& node() const { return *node_; }

    // As Node's, and remembered. `no_memory` also if there is no room to remember it.
    Result<Extent> allocate(std::uint64_t bytes, std::uint64_t alignment = page_size);
    Status allocate_ram(std::uint64_t bytes, std::uint64_t numa_node, Ram& ram);
    Status allocate_ram_piece(std::uint64_t bytes, std::uint64_t numa_node, Ram& ram, bool& done);
    Result<std::uint64_t> map_here(const Extent& e, std::uint64_t rights);
    Result<std::uint64_t> map_here(const Ram& ram, std::uint64_t rights);
    // For an object whose storage is held here, so that releasing the memory empties the slot.
    Slot new_slot();
    // An Event with storage of its own.
    Status create_event(Slot& event);

    // Everything goes back: objects in the memory are destroyed, mappings of it are removed.
    void release();
    // The same for one extent, or for what is left when there is none. True: nothing is left.
    bool release_piece();
    // Nothing goes back, ever.
    void abandon() { extent_count_ = window_count_ = slot_count_ = 0; }

  private:
    static constexpr unsigned room = 16, extent_room = room + Ram::max_extents;
    struct Window {
        Extent extent;
        std::uint64_t at;
    };
    Node* node_ = nullptr;
    Extent extents_[extent_room];
    Window windows_[room];
    Slot slots_[room];
    unsigned extent_count_ = 0, window_count_ = 0, slot_count_ = 0;
};

}  // namespace margay::init
