// create: kernel objects in memory that the caller supplies.
#include <new>

#include "ukernel/arch/x86_64/io_apic.hpp"
#include "ukernel/core/core.hpp"
#include "ukernel/object/derivation.hpp"
#include "ukernel/object/event.hpp"
#include "ukernel/object/irq.hpp"
#include "ukernel/object/space.hpp"
#include "ukernel/object/vcpu.hpp"
#include "ukernel/syscall/capability.hpp"
#include "ukernel/syscall/system_call.hpp"

namespace margay {

namespace {

struct Request {
    Thread& t;
    CapSlot& storage;
    CapSlot& destination;
    HostPhys base() const { return HostPhys{storage.base}; }
    std::uint64_t argument(unsigned i) const {
        constexpr unsigned registers[] = {gpr_rdx, gpr_r8, gpr_r9, gpr_r10, gpr_r12};
        return t.gpr[registers[i]];
    }
};

Result<Core*> find_core(const Thread& t, std::uint64_t slot) {
    const Result<CapSlot*> cap = find_capability(t, slot, ObjectType::core, right::control);
    if (!cap) return cap.status();
    Core* core = Core::by_id(reinterpret_cast<std::uint64_t>((*cap)->object));
    if (core == nullptr || !core->online) return Status::bad_argument;
    return core;
}

Status carve(Request& r) {
    const std::uint64_t base = r.argument(0), size = r.argument(1);
    CapSlot& parent = r.storage;
    const std::uint64_t unit = parent.memory == MemoryType::ports ? 1 : page_size;
    if (size == 0 || !is_aligned(base | size, unit) || base < parent.base || size > parent.size ||
        base - parent.base > parent.size - size)
        return Status::bad_argument;
    if (derivation::overlaps_carved(extent_root(parent), base, size)) return Status::in_use;
    Status s = take_extent(parent, ExtentState::carved);
    if (s != Status::ok) return s;
    CapSlot& d = r.destination;
    s = derivation::attach(d, parent);
    if (s != Status::ok) {
        release_extent(parent);
        return s;
    }
    d.base = base;
    d.size = size;
    d.rights = parent.rights;
    d.memory = parent.memory;
    d.extent = ExtentState::unused;
    d.is_copy = d.revoking = false;
    d.uses = 0;
    d.type = ObjectType::memory;
    return Status::ok;
}

// Under run_on: the context becomes known to its core.
void register_context(Core& core, Context& c) {
    run_on(core, [&] { core.contexts.push_back(c); });
}

Result<void*> make_thread(Request& r) {
    if (r.storage.size < storage_thread) return Status::no_memory;
    const Result<CapSlot*> domain =
        find_capability(r.t, r.argument(0), ObjectType::domain, right::control);
    if (!domain) return domain.status();
    if (static_cast<Domain*>((*domain)->object)->dying) return Status::bad_capability;
    const Result<Core*> core = find_core(r.t, r.argument(1) & 0xffff'ffff);
    if (!core) return core.status();
    const std::uint64_t priority = r.argument(1) >> 32;
    if (priority >= priorities || r.argument(2) >= user_end || r.argument(3) >= user_end)
        return Status::bad_argument;
    auto* t = new (direct<void>(r.base())) Thread{*static_cast<Domain*>((*domain)->object),
                                                  **core,
                                                  static_cast<unsigned>(priority),
                                                  r.argument(2),
                                                  r.argument(3),
                                                  r.argument(4)};
    register_context(**core, *t);
    return static_cast<void*>(t);
}

Result<void*> make_vcpu(Request& r) {
    const Result<CapSlot*> space =
        find_capability(r.t, r.argument(0), ObjectType::space, right::control);
    if (!space) return space.status();
    if (static_cast<Space*>((*space)->object)->dying) return Status::bad_capability;
    const Result<Core*> core = find_core(r.t, r.argument(1) & 0xffff'ffff);
    if (!core) return core.status();
    const std::uint64_t priority = r.argument(1) >> 32;
    if (priority >= priorities) return Status::bad_argument;
    const Result<CapSlot*> page =
        find_capability(r.t, r.argument(2), ObjectType::memory, right::read | right::write);
    if (!page) return page.status();
    if ((*page)->memory != MemoryType::ram || (*page)->size < page_size)
        return Status::bad_argument;
    Status s = take_extent(**page, ExtentState::mapped);
    if (s != Status::ok) return s;
    auto& in = *static_cast<Space*>((*space)->object);
    const Result<Vcpu*> v = Vcpu::create(r.base(), r.storage.size, in, **core,
                                         static_cast<unsigned>(priority), HostPhys{(*page)->base});
    if (v) s = derivation::attach((*v)->page_node, **page);
    if (!v || s != Status::ok) {
        release_extent(**page);
        return v ? s : v.status();
    }
    (*v)->page_node.type = state_page_node;
    register_context(**core, **v);
    return static_cast<void*>(*v);
}

Result<void*> make_portal(Request& r) {
    if (r.storage.size < storage_small) return Status::no_memory;
    const Result<Core*> core = find_core(r.t, r.argument(1));
    if (!core) return core.status();
    Thread* handler = nullptr;
    if (r.argument(0) != no_slot) {
        const Result<CapSlot*> thread =
            find_capability(r.t, r.argument(0), ObjectType::thread, right::control);
        if (!thread) return thread.status();
        handler = static_cast<Thread*>((*thread)->object);
        if (handler->core != *core) return Status::wrong_core;
        if (handler->state == ContextState::dead) return Status::dead_partner;
    }
    auto* p = new (direct<void>(r.base())) Portal{**core};
    if (handler != nullptr) run_on(**core, [&] { p->bind(*handler); });
    return static_cast<void*>(p);
}

Result<void*> make_irq(Request& r) {
    if (r.storage.size < storage_small) return Status::no_memory;
    const Result<CapSlot*> authority =
        find_capability(r.t, r.argument(0), ObjectType::irq_control, right::control);
    if (!authority) return authority.status();
    const std::uint64_t gsi = r.argument(1);
    if (gsi >= max_gsi || !io_apic::exists(static_cast<unsigned>(gsi))) return Status::bad_argument;
    if (Irq::is_taken(static_cast<unsigned>(gsi))) return Status::in_use;
    auto* irq = new (direct<void>(r.base())) Irq{static_cast<unsigned>(gsi)};
    Irq::register_source(*irq);
    return static_cast<void*>(irq);
}

Result<void*> make(Request& r, ObjectType type) {
    switch (type) {
    case ObjectType::domain: {
        const Result<Domain*> d =
            Domain::create(r.base(), r.storage.size, r.argument(0), r.argument(1));
        return d ? Result<void*>{*d} : Result<void*>{d.status()};
    }
    case ObjectType::space: {
        const Result<Space*> s = Space::create(r.base(), r.storage.size, r.argument(0));
        return s ? Result<void*>{*s} : Result<void*>{s.status()};
    }
    case ObjectType::thread: return make_thread(r);
    case ObjectType::vcpu: return make_vcpu(r);
    case ObjectType::portal: return make_portal(r);
    case ObjectType::event:
        if (r.storage.size < storage_small) return Status::no_memory;
        return static_cast<void*>(new (direct<void>(r.base())) Event{});
    case ObjectType::irq: return make_irq(r);
    default: return Status::wrong_type;
    }
}

}  // namespace

Status create_object(Thread& t) {
    const std::uint64_t number = t.gpr[gpr_rdi] & 0xffff'ffff;
    if (number >= static_cast<std::uint64_t>(ObjectType::count)) return Status::wrong_type;
    const auto type = static_cast<ObjectType>(number);
    const Result<CapSlot*> destination = find_empty(*t.domain, t.gpr[gpr_rdi] >> 32);
    if (!destination) return destination.status();
    const Result<CapSlot*> storage =
        find_capability(t, t.gpr[gpr_rsi], ObjectType::memory, right::derive);
    if (!storage) return storage.status();
    Request r{t, **storage, **destination};
    if (type == ObjectType::memory) return carve(r);
    if (r.storage.memory != MemoryType::ram ||
        (r.storage.rights & (right::read | right::write)) != (right::read | right::write))
        return Status::bad_argument;
    // Checked before the object is made, so that making it can be the last thing that fails.
    if (r.storage.depth + 1u > max_derivation_depth) return Status::too_deep;
    for (const Node* n = &r.storage; n != nullptr; n = n->parent)
        if (n->revoking) return Status::bad_capability;
    const Status s = take_extent(r.storage, ExtentState::storage);
    if (s != Status::ok) return s;
    const Result<void*> object = make(r, type);
    if (!object) {
        release_extent(r.storage);
        return object.status();
    }
    return place_object(r.destination, *t.domain, type, *object, r.storage);
}

}  // namespace margay
