// The derivation tree: every capability, every mapping and every binding is a node below the one that it
// was made through, and ends with it.
#pragma once
#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>
#include <cstdint>

#include "proto/kernel.hpp"

namespace margay {

namespace bi = boost::intrusive;

// The number of the part of the tree that a node is in; each part has a lock (core/estate.hpp).
using Estate = std::uint16_t;

// Kinds of node that are no capabilities.
constexpr auto mapping_node = static_cast<ObjectType>(0x40);
constexpr auto binding_node = static_cast<ObjectType>(0x41);

// How an extent of memory is in use. One way at a time; `uses` counts.
enum class ExtentState : std::uint8_t {
    unused = 0,
    carved,
    mapped,
    storage,  // of one kernel object
};

// How far the removal of a node has come (derivation.cpp).
enum class Removal : std::uint8_t {
    none = 0,
    condemned,    // cannot be found any more; who has found it before may still be at it
    unreachable,  // an object that nobody can be at: to be taken apart
};

struct SiblingTag;
using SiblingHook = bi::list_base_hook<bi::tag<SiblingTag>, bi::link_mode<bi::normal_link>>;

struct Node : SiblingHook {
    using Children = bi::list<Node, bi::base_hook<SiblingHook>, bi::constant_time_size<false>>;

    Children children;
    Node* parent = nullptr;
    // Read without a lock: written last, cleared first. The other words of a capability stay as they
    // are for whoever has read it, until the slot is filled again.
    ObjectType type = ObjectType::none;
    std::uint8_t rights = 0;
    std::uint8_t depth = 0;
    MemoryType memory : 2 = MemoryType::ram;
    ExtentState extent : 2 = ExtentState::unused;
    bool is_copy : 1 = false;    // not the capability that `create` made
    bool preparing : 1 = false;  // storage that is being cleared: `uses` counts the pieces done
    // Memory: children, mappings or objects that `extent` counts.
    std::uint32_t uses = 0;
    std::uint16_t serial = 0;  // another one each time the slot is filled
    Estate estate = 0;
    // Nothing may be derived from the capability: a revocation is under way. A word of its own, for it is
    // cleared without a lock when the revoking thread dies between two steps.
    bool revoking = false;
    bool reserved = false;  // an empty slot that is about to be filled; under its table's guard
    Removal removal = Removal::none;
    ObjectType removed_type = ObjectType::none;  // what a node under removal was
};

struct Domain;
struct CapSlot;
struct CarveTag;
using CarveHook =
    bi::set_base_hook<bi::tag<CarveTag>, bi::optimize_size<true>, bi::link_mode<bi::normal_link>>;
struct LowerBase {
    bool operator()(const CapSlot& a, const CapSlot& b) const;
};

// One capability slot. A Memory capability is its own object: base and size are here. An array of slots
// that holds nothing is all zero.
struct CapSlot : Node, CarveHook {
    using Carved = bi::set<CapSlot, bi::base_hook<CarveHook>, bi::compare<LowerBase>,
                           bi::constant_time_size<false>>;
    union {
        void* object = nullptr;
        std::uint64_t base;
    };
    union {
        std::uint64_t badge = 0;
        std::uint64_t size;
    };
    Domain* domain = nullptr;  // whose table this slot is in
    Carved carved;             // what was carved out of this extent, through any copy
};
static_assert(sizeof(CapSlot) == slot_bytes);

inline bool LowerBase::operator()(const CapSlot& a, const CapSlot& b) const {
    return a.base < b.base;
}

class MapTarget;

// One mapping of an extent, stored in the Domain or Space that it is in.
struct Mapping : Node {
    MapTarget* target = nullptr;
    std::uint64_t address = 0;
    std::uint64_t size = 0;
    Mapping* previous = nullptr;  // of the target's mappings
    Mapping* next = nullptr;
};
static_assert(sizeof(Mapping) <= mapping_bytes);

// Something that works through a capability for as long as the capability lives: where a death is
// signalled, the row of an exit table, and so on. Stored in the object that has it. Made and ended under
// the estate lock of the capability.
struct Binding : Node {
    void (*end)(Binding&) = nullptr;  // undoes it, on whatever core that has to be
    void* owner = nullptr;
    bool uses_extent = false;  // counts as a mapping of the extent it is below

    Binding(void (*undo)(Binding&), void* of) : end{undo}, owner{of} { type = binding_node; }
    // Looked at without a lock by who is about to take the one of `estate`, then again.
    bool is_bound() const { return __atomic_load_n(&parent, __ATOMIC_ACQUIRE) != nullptr; }
};

inline ObjectType type_of(const Node& n) {
    ObjectType type;
    __atomic_load(&n.type, &type, __ATOMIC_ACQUIRE);
    return type;
}
// Sequentially consistent: what is read after it, such as the set of cores, is not read before.
inline void set_type(Node& n, ObjectType type) { __atomic_store(&n.type, &type, __ATOMIC_SEQ_CST); }

// The capability whose `uses` account for an extent: copies count with the original.
inline Node& extent_root(Node& node) {
    Node* n = &node;
    while (n->is_copy && n->parent != nullptr) n = n->parent;
    return *n;
}

// Takes one use of the extent in the given way, or says why not.
inline Status take_extent(Node& node, ExtentState how) {
    Node& root = extent_root(node);
    if (root.uses != 0 && (root.extent != how || how == ExtentState::storage))
        return Status::in_use;
    if (root.uses == ~0u) return Status::no_memory;
    root.extent = how;
    ++root.uses;
    return Status::ok;
}

inline void release_extent(Node& node) {
    Node& root = extent_root(node);
    if (--root.uses == 0) root.extent = ExtentState::unused;
}

}  // namespace margay
