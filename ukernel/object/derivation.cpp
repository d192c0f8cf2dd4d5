#include "ukernel/object/derivation.hpp"

#include "ukernel/core/core.hpp"
#include "ukernel/core/shootdown.hpp"
#include "ukernel/debug/assert.hpp"
#include "ukernel/object/domain.hpp"
#include "ukernel/object/event.hpp"
#include "ukernel/object/irq.hpp"
#include "ukernel/object/space.hpp"
#include "ukernel/object/vcpu.hpp"

namespace margay::derivation {

namespace {

// Work of one step, in page-table leaves or nodes: bounds how long interrupts are held off.
constexpr unsigned step_budget = max_map_leaves;
constexpr unsigned max_touched = 64;

struct Step {
    CoreMask cores = 0;
    MapTarget* touched[max_touched];
    unsigned touched_count = 0;
    unsigned work = 0;
};

bool is_original_object(const Node& n) {
    return !n.is_copy && n.type != ObjectType::memory && n.type < ObjectType::count;
}

// The next node to remove: has nothing below it, and owns nothing that must go first. Null when only
// the root is left; `self`: what the root's object owns goes too.
Node* next_victim(Node& root, bool self) {
    Node* n = &root;
    for (;;) {
        if (!n->children.empty()) {
            n = &n->children.back();
            continue;
        }
        if ((n != &root || self) && is_original_object(*n)) {
            // What a Domain or Space holds goes before the object itself.
            auto& slot = static_cast<CapSlot&>(*n);
            if (n->type == ObjectType::domain) {
                auto& d = *static_cast<Domain*>(slot.object);
                if (!d.dying) {
                    // A revocation takes many steps, and others run in between: what is put into the
                    // table behind the search would outlive it.
                    d.dying = true;
                    d.kill_threads();
                }
                if (CapSlot* s = d.any_slot()) {
                    n = s;
                    continue;
                }
                if (Mapping* m = d.any_mapping()) {
                    n = m;
                    continue;
                }
            } else if (n->type == ObjectType::space) {
                auto& s = *static_cast<Space*>(slot.object);
                s.dying = true;
                if (Mapping* m = s.any_mapping()) {
                    n = m;
                    continue;
                }
            }
        }
        return n == &root ? nullptr : n;
    }
}

void touch(Step& step, MapTarget& target) {
    step.cores |= target.cores;
    if (target.settling) return;
    target.settling = true;
    step.touched[step.touched_count++] = &target;
}

void forget_target(Step& step, MapTarget& target) {
    for (unsigned i = 0; i < step.touched_count; ++i)
        if (step.touched[i] == &target) step.touched[i] = step.touched[--step.touched_count];
}

void destroy_object(Step& step, CapSlot& slot, ObjectType type) {
    switch (type) {
    case ObjectType::domain: {
        auto& d = *static_cast<Domain*>(slot.object);
        step.cores |= d.cores;
        forget_target(step, d);
        d.destroy();
        break;
    }
    case ObjectType::space: {
        auto& s = *static_cast<Space*>(slot.object);
        step.cores |= s.cores;
        forget_target(step, s);
        s.destroy();
        break;
    }
    case ObjectType::thread: static_cast<Thread*>(slot.object)->destroy(); break;
    case ObjectType::vcpu: {
        auto& v = *static_cast<Vcpu*>(slot.object);
        if (v.page_node.parent != nullptr) {
            release_extent(*v.page_node.parent);
            unlink(v.page_node);
        }
        v.destroy();
        break;
    }
    case ObjectType::portal: static_cast<Portal*>(slot.object)->destroy(); break;
    case ObjectType::event: static_cast<Event*>(slot.object)->destroy(); break;
    case ObjectType::irq: static_cast<Irq*>(slot.object)->destroy(); break;
    default: break;
    }
}

void remove(Step& step, Node& n) {
    ++step.work;
    if (n.type == mapping_node) {
        auto& m = static_cast<Mapping&>(n);
        MapTarget& target = *m.target;
        step.work += static_cast<unsigned>(m.size / page_size > 512 ? 512 : m.size / page_size);
        target.remove(m);
        release_extent(*m.parent);
        unlink(m);
        target.release_record(m);
        touch(step, target);
        return;
    }
    if (n.type == state_page_node) {
        release_extent(*n.parent);
        unlink(n);
        static_cast<StatePageNode&>(n).vcpu->lose_state_page();
        return;
    }
    auto& slot = static_cast<CapSlot&>(n);
    const bool original = is_original_object(n);
    const ObjectType type = n.type;
    // Readers without the lock (IPC) look at the type first.
    if (original) {
        n.type = ObjectType::none;
        destroy_object(step, slot, type);
        if (n.parent != nullptr) release_extent(*n.parent);
    } else if (type == ObjectType::memory && !n.is_copy && n.parent != nullptr) {
        release_extent(*n.parent);
    }
    n.type = ObjectType::none;
    // IPC and signal read these slots without the lock: whoever has just read this one is out of the
    // kernel after the shootdown.
    if (type == ObjectType::portal || type == ObjectType::event)
        step.cores |= direct<Domain>(HostPhys{std::uint64_t{n.uses} * page_size})->cores;
    if (n.parent != nullptr) unlink(n);
    n.is_copy = n.revoking = false;
    n.rights = 0;
    n.uses = 0;
    n.extent = ExtentState::unused;
    slot.object = nullptr;
    slot.badge = 0;
}

}  // namespace

Status attach(Node& child, Node& parent) {
    if (parent.depth + 1u > max_derivation_depth) return Status::too_deep;
    for (const Node* n = &parent; n != nullptr; n = n->parent)
        if (n->revoking) return Status::bad_capability;
    child.parent = &parent;
    child.depth = static_cast<std::uint8_t>(parent.depth + 1);
    parent.children.push_back(child);
    return Status::ok;
}

void unlink(Node& n) {
    n.parent->children.erase(n.parent->children.iterator_to(n));
    n.parent = nullptr;
}

bool overlaps_carved(const Node& extent, std::uint64_t base, std::uint64_t size) {
    for (const Node& n : extent.children) {
        if (n.type != ObjectType::memory) continue;
        if (n.is_copy) {
            if (overlaps_carved(n, base, size)) return true;
            continue;
        }
        const auto& s = static_cast<const CapSlot&>(n);
        if (base < s.base + s.size && s.base < base + size) return true;
    }
    return false;
}

Progress revoke_step(CapSlot& root, bool self) {
    Step step;
    root.revoking = true;
    Progress progress = Progress::more;
    while (step.work < step_budget && step.touched_count < max_touched) {
        Node* victim = next_victim(root, self);
        if (victim == nullptr) {
            progress = Progress::done;
            break;
        }
        remove(step, *victim);
    }
    if (progress == Progress::done) {
        root.revoking = false;
        if (self) remove(step, root);
    }
    if (step.work != 0) shootdown(step.cores);
    for (unsigned i = 0; i < step.touched_count; ++i) {
        step.touched[i]->settling = false;
        step.touched[i]->pool().settle();
    }
    return progress;
}

}  // namespace margay::derivation
