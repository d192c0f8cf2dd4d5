// Taking a subtree of the derivation tree away.
//
// A step condemns nodes: nobody can find them any more, but whoever has found one may still be at it. One
// epoch is waited for at its end, with the TLB shootdown; after that, mappings, bindings and copies are
// gone, and objects are unreachable. Those are taken apart by later visits: first what they hold (a
// Domain its threads, capabilities and mappings; a vCPU its bindings), then they themselves.
#include "ukernel/object/revocation.hpp"

#include "ukernel/core/core.hpp"
#include "ukernel/core/epoch.hpp"
#include "ukernel/debug/assert.hpp"
#include "ukernel/object/device.hpp"
#include "ukernel/object/dma_space.hpp"
#include "ukernel/object/domain.hpp"
#include "ukernel/object/event.hpp"
#include "ukernel/object/irq.hpp"
#include "ukernel/object/space.hpp"
#include "ukernel/object/vcpu.hpp"

namespace margay::derivation {

namespace {

bool is_object(const Node& n, ObjectType type) {
    return !n.is_copy && type != ObjectType::memory && type < ObjectType::count;
}
// Another core may have removed it before this one had the lock of its estate.
bool is_there(const Node& n) {
    const ObjectType type = type_of(n);
    if (type == binding_node) return static_cast<const Binding&>(n).is_bound();
    return type != ObjectType::none || n.removal != Removal::none;
}

template <typename T>
T& object_of(Node& n) {
    return *static_cast<T*>(static_cast<CapSlot&>(n).object);
}

// One of the bindings that a vCPU has, or null.
Node* any_binding(Vcpu& v) {
    if (v.page_binding.is_bound()) return &v.page_binding;
    if (v.event_binding.is_bound()) return &v.event_binding;
    if (v.death.is_bound()) return &v.death;
    for (ExitRow& row : v.rows)
        for (ExitTarget* target : {&row.base, &row.policy})
            if (target->binding.is_bound()) return &target->binding;
    return nullptr;
}

class Step {
  public:
    Step(CapSlot& root, bool self, EstateLock& held, Estate& needs)
        : root_{root}, self_{self}, held_{held}, needs_{needs} {}

    Progress run() {
        root_.revoking = true;
        bool nothing_left = false;
        while (work_ < work_limit && count_ < batch && !stopped_ && !gone_) {
            Node* victim = find();
            if (victim == nullptr) {
                nothing_left = !stopped_;
                break;
            }
            work_ += 8;
            if (victim->removal == Removal::unreachable)
                take_apart(static_cast<CapSlot&>(*victim));
            else
                condemn(*victim);
        }
        if (count_ != 0 || waits_) epoch::wait(cores_, flush_);
        iommu::flush({dma_, dma_count_});
        for (unsigned i = 0; i < count_; ++i) finish(batch_[i]);
        if (gone_) return Progress::done;
        if (!nothing_left) return Progress::more;
        root_.revoking = false;
        if (root_.preparing) {
            root_.preparing = false;
            root_.uses = 0;
            root_.extent = ExtentState::unused;
        }
        return Progress::done;
    }

  private:
    // In page-table leaves, about: bounds how long interrupts are held off.
    static constexpr unsigned work_limit = max_map_leaves;
    static constexpr unsigned batch = 64;
    struct Condemned {
        Node* node;
        Node* account;  // the extent whose uses it counts for
        FramePool::Released frames;
    };

    // The step ends here; the next one begins with the lock of this estate as well.
    Node* stop(Estate also) {
        needs_ = also;
        return stop();
    }
    Node* stop() {
        stopped_ = true;
        return nullptr;
    }
    bool holds(const Node& n) { return held_.holds(n.estate) || held_.try_add(n.estate); }

    // The next node to remove: has nothing below it, and holds nothing that must go first. Null when none
    // is left, or the step has to end.
    Node* find() {
        Node* n = &root_;
        for (;;) {
            if (!n->children.empty()) {
                n = &n->children.back();
                if (!holds(*n)) return stop(n->estate);
                continue;
            }
            if (n == &root_) {
                if (!self_) return nullptr;
                // The list that it is in belongs to its parent's estate.
                if (n->parent != nullptr && !holds(*n->parent)) return stop(n->parent->estate);
            }
            if (n->removal == Removal::none) return n;
            // This step has condemned it already: it has to end.
            if (n->removal == Removal::condemned) return stop();
            Node* inner = held_by(static_cast<CapSlot&>(*n));
            if (stopped_) return nullptr;
            if (inner == nullptr) return n;
            if (!holds(*inner)) return stop(inner->estate);
            if (!is_there(*inner)) continue;
            if (inner->parent != nullptr && !holds(*inner->parent))
                return stop(inner->parent->estate);
            n = inner;
        }
    }

    // What an unreachable object holds and must lose first.
    Node* held_by(CapSlot& s) {
        switch (s.removed_type) {
        case ObjectType::domain: {
            auto& d = object_of<Domain>(s);
            if (!end_contexts(d, [&d] { return d.end_thread(); })) return nullptr;
            bool more = false;
            constexpr unsigned look_at = 1024;
            if (CapSlot* slot = d.any_slot(look_at, more)) return slot;
            if (more) {
                work_ += look_at;
                return work_ < work_limit ? held_by(s) : stop();
            }
            return d.any_mapping();
        }
        case ObjectType::space: {
            auto& space = object_of<Space>(s);
            if (!end_contexts(space, [&space] { return space.end_vcpu(); })) return nullptr;
            return space.any_mapping();
        }
        case ObjectType::thread: {
            auto& t = object_of<Thread>(s);
            return t.death.is_bound() ? &t.death : nullptr;
        }
        case ObjectType::vcpu: return any_binding(object_of<Vcpu>(s));
        case ObjectType::portal: {
            auto& p = object_of<Portal>(s);
            return p.binding.is_bound() ? &p.binding : nullptr;
        }
        case ObjectType::irq: {
            auto& irq = object_of<Irq>(s);
            if (irq.binding.is_bound()) return &irq.binding;
            return irq.origin.is_bound() ? &irq.origin : nullptr;
        }
        case ObjectType::dma_space: return object_of<DmaSpace>(s).any_mapping();
        case ObjectType::device: {
            auto& d = object_of<Device>(s);
            return d.attachment.is_bound() ? &d.attachment : nullptr;
        }
        default: return nullptr;
        }
    }

    // Ends the contexts that live in a Domain or Space, one by one. Their cores may be in the middle of a
    // call that they had begun: only an epoch later nothing more comes in.
    template <typename EndOne>
    bool end_contexts(MapTarget& target, EndOne end_one) {
        if (target.contexts_ended) return true;
        while (work_ < work_limit) {
            work_ += 64;
            if (end_one()) continue;
            target.contexts_ended = true;
            cores_.add(target.cores);
            waits_ = true;
            break;
        }
        stop();
        return false;
    }

    void condemn(Node& n) {
        MARGAY_DEBUG_EXPECT(n.type != ObjectType::none && n.removal == Removal::none);
        Condemned& c = batch_[count_++];
        c = {&n, n.parent != nullptr ? &extent_root(*n.parent) : nullptr, {}};
        if (n.type == mapping_node) {
            auto& m = static_cast<Mapping&>(n);
            MapTarget& target = *m.target;
            const std::uint64_t pages = m.size / page_size;
            work_ += static_cast<unsigned>(pages > 512 ? 512 : pages);
            const SpinGuard lock{target.guard};
            c.frames = target.remove(m);
            if (target.is_dma()) {
                flushes(static_cast<DmaSpace&>(target).domain);
            } else {
                cores_.add(target.cores);
                flush_ = true;
            }
        } else if (n.type == binding_node) {
            auto& b = static_cast<Binding&>(n);
            b.end(b);
            unlink(n);
            if (b.uses_extent) release_extent(*c.account);
            --count_;
            return;
        } else {
            auto& s = static_cast<CapSlot&>(n);
            const ObjectType type = n.type;
            n.removed_type = type;
            set_type(n, ObjectType::none);
            cores_.add(s.domain->cores);
            if (is_object(n, type)) {
                if (type == ObjectType::domain) cores_.add(object_of<Domain>(n).cores);
                if (type == ObjectType::space) cores_.add(object_of<Space>(n).cores);
                // Its place in the tree remains, out of the way of its siblings.
                if (n.parent != nullptr) {
                    Node::Children& siblings = n.parent->children;
                    siblings.splice(siblings.begin(), siblings, siblings.iterator_to(n));
                }
                n.removal = Removal::condemned;
                return;
            }
        }
        n.removal = Removal::condemned;
        if (n.parent != nullptr) unlink(n);
    }

    // Each once: a step takes apart few spaces.
    void flushes(std::uint16_t domain) {
        for (unsigned i = 0; i < dma_count_; ++i)
            if (dma_[i] == domain) return;
        dma_[dma_count_++] = domain;
    }

    // An epoch later.
    void finish(Condemned& c) {
        Node& n = *c.node;
        if (n.type == mapping_node) {
            auto& m = static_cast<Mapping&>(n);
            release_extent(*c.account);
            const SpinGuard lock{m.target->guard};
            m.target->pool().give_back(c.frames);
            m.target->release_record(m);
            return;
        }
        auto& s = static_cast<CapSlot&>(n);
        MARGAY_DEBUG_EXPECT(n.removal == Removal::condemned);
        if (n.removed_type == ObjectType::event)
            static_cast<Event*>(s.object)->evict(s);
        else if (n.removed_type == ObjectType::portal)
            static_cast<Portal*>(s.object)->evict(s);
        if (is_object(n, n.removed_type)) {
            n.removal = Removal::unreachable;
            return;
        }
        if (n.removed_type == ObjectType::memory && !n.is_copy && c.account != nullptr) {
            CapSlot::Carved& carved = static_cast<CapSlot&>(*c.account).carved;
            carved.erase(carved.iterator_to(s));
            release_extent(*c.account);
        }
        clear(s);
    }

    void take_apart(CapSlot& s) {
        switch (s.removed_type) {
        case ObjectType::domain: object_of<Domain>(s).destroy(); break;
        case ObjectType::thread: object_of<Thread>(s).destroy(); break;
        case ObjectType::vcpu: object_of<Vcpu>(s).destroy(); break;
        case ObjectType::portal: object_of<Portal>(s).destroy(); break;
        case ObjectType::event: object_of<Event>(s).destroy(); break;
        case ObjectType::irq: object_of<Irq>(s).destroy(); break;
        case ObjectType::dma_space: object_of<DmaSpace>(s).destroy(); break;
        case ObjectType::device: object_of<Device>(s).destroy(); break;
        default: break;
        }
        if (s.parent != nullptr) {
            release_extent(*s.parent);
            unlink(s);
        }
        clear(s);
    }

    // The slot is empty from here on, and may be filled under another lock.
    void clear(CapSlot& s) {
        if (&s == &root_) gone_ = true;
        s.removed_type = ObjectType::none;
        s.is_copy = s.preparing = s.revoking = false;
        s.uses = 0;
        s.extent = ExtentState::unused;
        Removal nothing = Removal::none;
        __atomic_store(&s.removal, &nothing, __ATOMIC_RELEASE);
    }

    CapSlot& root_;
    const bool self_;
    EstateLock& held_;
    Estate& needs_;
    unsigned work_ = 0;
    unsigned count_ = 0;
    bool stopped_ = false;
    bool gone_ = false;
    bool flush_ = false;
    bool waits_ = false;  // for an epoch, although nothing is condemned
    CoreSet cores_;
    Condemned batch_[batch];
    std::uint16_t dma_[batch];  // IOMMU domains to flush
    unsigned dma_count_ = 0;
};

}  // namespace

Progress revoke_step(CapSlot& root, bool self, EstateLock& held, Estate& needs) {
    return Step{root, self, held, needs}.run();
}

}  // namespace margay::derivation
