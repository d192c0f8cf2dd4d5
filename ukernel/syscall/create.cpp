// create: kernel objects in memory that the caller supplies.
#include <cstring>
#include <new>

#include "ukernel/arch/x86_64/io_apic.hpp"
#include "ukernel/core/core.hpp"
#include "ukernel/object/capability.hpp"
#include "ukernel/object/device.hpp"
#include "ukernel/object/dma_space.hpp"
#include "ukernel/object/event.hpp"
#include "ukernel/object/irq.hpp"
#include "ukernel/object/space.hpp"
#include "ukernel/object/vcpu.hpp"
#include "ukernel/syscall/system_call.hpp"
#include "ukernel/tree/derivation.hpp"

namespace margay {

namespace {

// Bytes of storage that one entry into the kernel clears.
constexpr std::uint64_t piece = 32 << 10;

struct Request {
    Thread& t;
    EstateLock& held;
    CapSlot& storage;
    HostPhys base() const { return HostPhys{storage.base}; }
    std::uint64_t argument(unsigned i) const {
        constexpr unsigned registers[] = {gpr_rdx, gpr_r8, gpr_r9, gpr_r10, gpr_r12};
        return t.gpr[registers[i]];
    }
};

// Makes an object in the storage. What it needs besides was looked at before; it fails with nothing done.
using Make = Result<void*> (*)(Request&);

Result<Core*> find_core(const Thread& t, std::uint64_t slot) {
    const Result<CapSlot*> cap = find_capability(t, slot, ObjectType::core, right::control);
    if (!cap) return cap.status();
    Core* core = Core::by_id(reinterpret_cast<std::uint64_t>((*cap)->object));
    if (core == nullptr || !core->online) return Status::bad_argument;
    return core;
}

Status carve(Request& r, Reservation& destination) {
    const std::uint64_t base = r.argument(0), size = r.argument(1), flags = r.argument(2);
    CapSlot& parent = r.storage;
    const std::uint64_t unit = parent.memory == MemoryType::ports ? 1 : page_size;
    if (size == 0 || !is_aligned(base | size, unit) || base < parent.base || size > parent.size ||
        base - parent.base > parent.size - size || flags > carve_flag::estate)
        return Status::bad_argument;
    if (derivation::overlaps_carved(parent, base, size)) return Status::in_use;
    return destination.fill_extent(parent, base, size,
                                   flags == carve_flag::estate ? estate::number_new() : Estate{0});
}

// One more context on a core, unless there are too many.
bool admit(Core& core) {
    if (core.contexts.fetch_add(1) < max_contexts_per_core) return true;
    core.contexts.fetch_sub(1);
    return false;
}

Result<void*> make_domain(Request& r) {
    const Result<Domain*> d =
        Domain::create(r.base(), r.storage.size, r.argument(0), r.argument(1));
    return d ? Result<void*>{*d} : Result<void*>{d.status()};
}

Result<void*> make_space(Request& r) {
    if (r.argument(0) > max_mappings) return Status::bad_argument;
    const Result<Space*> s = Space::create(r.base(), r.storage.size, r.argument(0));
    return s ? Result<void*>{*s} : Result<void*>{s.status()};
}

Result<void*> make_thread(Request& r) {
    if (r.storage.size < storage_thread) return Status::no_memory;
    const Result<CapSlot*> domain =
        find_capability(r.t, r.argument(0), ObjectType::domain, right::control);
    if (!domain) return domain.status();
    const Result<Core*> core = find_core(r.t, r.argument(1) & 0xffff'ffff);
    if (!core) return core.status();
    const std::uint64_t priority = r.argument(1) >> 32;
    if (priority >= priorities || r.argument(2) >= user_end || r.argument(3) >= user_end)
        return Status::bad_argument;
    if (!admit(**core)) return Status::no_memory;
    return static_cast<void*>(new (direct<void>(r.base())) Thread{
        object_of<Domain>(**domain), **core, static_cast<unsigned>(priority), r.argument(2),
        r.argument(3), r.argument(4)});
}

Result<void*> make_vcpu(Request& r) {
    const Result<CapSlot*> space =
        find_capability(r.t, r.argument(0), ObjectType::space, right::control);
    if (!space) return space.status();
    const Result<Core*> core = find_core(r.t, r.argument(1) & 0xffff'ffff);
    if (!core) return core.status();
    const std::uint64_t priority = r.argument(1) >> 32;
    if (priority >= priorities) return Status::bad_argument;
    const Result<CapSlot*> page =
        find_capability(r.t, r.argument(2), ObjectType::memory, right::read | right::write);
    if (!page) return page.status();
    if ((*page)->memory != MemoryType::ram || (*page)->size < page_size)
        return Status::bad_argument;
    Status s = derivation::can_attach(**page);
    if (s == Status::ok) s = take_extent(**page, ExtentState::mapped);
    if (s != Status::ok) return s;
    const bool admitted = admit(**core);
    const Result<Vcpu*> v =
        admitted ? Vcpu::create(r.base(), r.storage.size, object_of<Space>(**space), **core,
                                static_cast<unsigned>(priority), HostPhys{(*page)->base})
                 : Result<Vcpu*>{Status::no_memory};
    if (!v) {
        if (admitted) (*core)->contexts.fetch_sub(1);
        release_extent(**page);
        return v.status();
    }
    derivation::bind((*v)->page_binding, **page);
    return static_cast<void*>(*v);
}

Result<void*> make_portal(Request& r) {
    if (r.storage.size < storage_small) return Status::no_memory;
    const Result<Core*> core = find_core(r.t, r.argument(1));
    if (!core) return core.status();
    auto* p = new (direct<void>(r.base())) Portal{**core};
    if (r.argument(0) == no_slot) return static_cast<void*>(p);
    const Result<CapSlot*> thread =
        find_capability(r.t, r.argument(0), ObjectType::thread, right::control);
    if (!thread) return thread.status();
    const Status s = bind_portal(*p, **thread, r.held);
    return s == Status::ok ? Result<void*>{p} : Result<void*>{s};
}

Result<void*> make_event(Request& r) {
    if (r.storage.size < storage_small) return Status::no_memory;
    return static_cast<void*>(new (direct<void>(r.base())) Event{});
}

template <typename T>
Result<void*> pointer(const Result<T*>& made) {
    return made ? Result<void*>{*made} : Result<void*>{made.status()};
}

Result<void*> make_message(Request& r, CapSlot& device) {
    const Result<Core*> core = find_core(r.t, r.argument(2));
    if (!core) return core.status();
    if (r.argument(1) >= device_messages) return Status::bad_argument;
    const Status s = derivation::can_attach(device);
    if (s != Status::ok) return s;
    const Result<Irq*> irq = Irq::create_message(r.base(), object_of<Device>(device),
                                                 static_cast<unsigned>(r.argument(1)), **core);
    if (irq) derivation::bind((*irq)->origin, device);
    return pointer(irq);
}

Result<void*> make_irq(Request& r) {
    if (r.storage.size < storage_small) return Status::no_memory;
    const Result<CapSlot*> source =
        find_capability(r.t, r.argument(0), ObjectType::none, right::control);
    if (!source) return source.status();
    if (type_of(**source) == ObjectType::device) return make_message(r, **source);
    if (type_of(**source) != ObjectType::irq_control) return Status::wrong_type;
    const std::uint64_t gsi = r.argument(1);
    if (gsi >= max_gsi || !io_apic::exists(static_cast<unsigned>(gsi))) return Status::bad_argument;
    return pointer(Irq::create_line(r.base(), static_cast<unsigned>(gsi)));
}

Result<void*> make_dma_space(Request& r) {
    if (r.argument(0) > max_mappings) return Status::bad_argument;
    return pointer(DmaSpace::create(r.base(), r.storage.size, r.argument(0)));
}

Result<void*> make_device(Request& r) {
    const Result<CapSlot*> authority =
        find_capability(r.t, r.argument(0), ObjectType::device_control, right::control);
    if (!authority) return authority.status();
    const std::uint64_t what = r.argument(1);
    if ((what & ~(0xffff | device_flag::may_raise_any)) != 0) return Status::bad_argument;
    return pointer(Device::create(r.base(), r.storage.size,
                                  static_cast<iommu::Requester>(what & 0xffff),
                                  (what & device_flag::may_raise_any) != 0));
}

Make maker_of(ObjectType type) {
    switch (type) {
    case ObjectType::domain: return make_domain;
    case ObjectType::space: return make_space;
    case ObjectType::thread: return make_thread;
    case ObjectType::vcpu: return make_vcpu;
    case ObjectType::portal: return make_portal;
    case ObjectType::event: return make_event;
    case ObjectType::irq: return make_irq;
    case ObjectType::dma_space: return make_dma_space;
    case ObjectType::device: return make_device;
    default: return nullptr;
    }
}

// The estate of another capability that the new object is bound to.
Estate second_estate(const Request& r, ObjectType type) {
    const unsigned which = type == ObjectType::vcpu ? 2 : 0;
    if (type == ObjectType::vcpu || type == ObjectType::portal || type == ObjectType::irq) {
        const Result<CapSlot*> other = find_capability(r.t, r.argument(which), ObjectType::none, 0);
        if (other) return (*other)->estate;
    }
    return r.storage.estate;
}

// Clears the part of the storage that must be zero, a piece at a time; nobody else can use it meanwhile,
// whoever goes on with it. True when all is done.
bool prepare(Request& r, std::uint64_t bytes) {
    Node& root = extent_root(r.storage);
    if (!root.preparing) {
        root.preparing = true;
        root.uses = 1;
        root.extent = ExtentState::storage;
    }
    const std::uint64_t begin = std::uint64_t{root.uses - 1} * piece;
    if (begin < bytes) {
        const std::uint64_t end = begin + piece < bytes ? begin + piece : bytes;
        std::memset(direct<void>(r.base() + begin), 0, end - begin);
        ++root.uses;
        if (end < bytes) return false;
    }
    root.preparing = false;
    root.uses = 0;
    root.extent = ExtentState::unused;
    return true;
}

}  // namespace

Status create_object(Thread& t, EstateLock& held) {
    const std::uint64_t number = t.gpr[gpr_rdi] & 0xffff'ffff;
    if (number >= static_cast<std::uint64_t>(ObjectType::count)) return Status::wrong_type;
    const auto type = static_cast<ObjectType>(number);
    Domain& domain = *t.domain;
    const Result<CapSlot*> storage =
        find_capability(t, t.gpr[gpr_rsi], ObjectType::memory, right::derive);
    if (!storage) return storage.status();
    Request r{t, held, **storage};
    if (!held.want(r.storage.estate, second_estate(r, type))) return Status::ok;
    Result<Reservation> destination = Reservation::make(domain, t.gpr[gpr_rdi] >> 32);
    if (!destination) return destination.status();
    if (type == ObjectType::memory) return carve(r, *destination);
    const Make make = maker_of(type);
    if (make == nullptr) return Status::wrong_type;
    if (r.storage.memory != MemoryType::ram ||
        (r.storage.rights & (right::read | right::write)) != (right::read | right::write))
        return Status::bad_argument;
    Status s = derivation::can_attach(r.storage);
    if (s != Status::ok) return s;
    const Node& root = extent_root(r.storage);
    if (root.uses != 0 && !root.preparing) return Status::in_use;
    if (type == ObjectType::domain) {
        if (r.argument(0) == 0 || r.argument(0) > max_slots || r.argument(1) > max_mappings)
            return Status::bad_argument;
        const std::uint64_t bytes = Domain::zeroed_bytes(r.argument(0));
        if (r.storage.size < bytes) return Status::no_memory;
        if (!prepare(r, bytes)) {
            t.repeat_call();
            return static_cast<Status>(Syscall::create);  // what RAX must be again
        }
    } else if (root.preparing) {
        return Status::in_use;
    }
    s = take_extent(r.storage, ExtentState::storage);
    if (s != Status::ok) return s;
    const Result<void*> object = make(r);
    if (!object) {
        release_extent(r.storage);
        return object.status();
    }
    (*destination).fill(type, *object, type == ObjectType::event ? ~0ull : 0, r.storage);
    return Status::ok;
}

}  // namespace margay
