// The derivation tree: every capability and every mapping is a node below the one it came from.
#pragma once
#include <boost/intrusive/list.hpp>
#include <cstdint>

#include "proto/kernel.hpp"

namespace margay {

namespace bi = boost::intrusive;

// Kinds of node that are not object capabilities.
constexpr auto mapping_node = static_cast<ObjectType>(0x40);
constexpr auto state_page_node =
    static_cast<ObjectType>(0x41);  // a vCPU uses the extent as its state page

// How an extent of memory is in use. One way at a time; `uses` counts.
enum class ExtentState : std::uint8_t { unused = 0, carved, mapped, storage };

struct SiblingTag;
using SiblingHook = bi::list_base_hook<bi::tag<SiblingTag>, bi::link_mode<bi::normal_link>>;

struct Node : SiblingHook {
    using Children = bi::list<Node, bi::base_hook<SiblingHook>, bi::constant_time_size<false>>;

    Children children;
    Node* parent = nullptr;
    ObjectType type =
        ObjectType::none;  // read without a lock by the IPC path: written last, cleared first
    std::uint8_t rights = 0;
    std::uint8_t depth = 0;
    MemoryType memory : 2 = MemoryType::ram;
    ExtentState extent : 2 = ExtentState::unused;
    bool is_copy : 1 = false;   // not the capability that `create` made
    bool revoking : 1 = false;  // nothing may be derived from it any more
    // Memory: children, mappings or objects that `extent` counts. Portal and event: the page frame
    // number of the Domain whose table this slot is in (see derivation.cpp).
    std::uint32_t uses = 0;
};

// One capability slot. A Memory capability is its own object: base and size are here.
struct CapSlot : Node {
    union {
        void* object = nullptr;
        std::uint64_t base;
    };
    union {
        std::uint64_t badge = 0;
        std::uint64_t size;
    };
};
static_assert(sizeof(CapSlot) == slot_bytes);

class MapTarget;

// One mapping of an extent, stored in the Domain or Space that it is in.
struct Mapping : Node {
    MapTarget* target = nullptr;
    std::uint64_t address = 0;
    std::uint64_t size = 0;
};
static_assert(sizeof(Mapping) <= mapping_bytes);

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
    root.extent = how;
    ++root.uses;
    return Status::ok;
}

inline void release_extent(Node& node) {
    Node& root = extent_root(node);
    if (--root.uses == 0) root.extent = ExtentState::unused;
}

}  // namespace margay
