// The control calls of portals, threads, domains, interrupts and memory.
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/core/core.hpp"
#include "ukernel/object/capability.hpp"
#include "ukernel/object/device.hpp"
#include "ukernel/object/dma_space.hpp"
#include "ukernel/object/event.hpp"
#include "ukernel/object/irq.hpp"
#include "ukernel/sched/scheduler.hpp"
#include "ukernel/syscall/system_call.hpp"
#include "ukernel/tree/derivation.hpp"

namespace margay {

namespace {

constexpr std::uint8_t no_rights = 0;

Status start_thread(Thread& x) {
    Status s = Status::ok;
    run_on(*x.core, [&] {
        if (x.state == ContextState::dead)
            s = Status::dead_partner;
        else if (x.state != ContextState::stopped)
            s = Status::in_use;
        else
            scheduler::make_ready(x);
    });
    return s;
}

// Only a thread that is on its core or wants it can be taken off; one that waits goes on waiting.
Status suspend_thread(Thread& x) {
    Status s = Status::ok;
    run_on(*x.core, [&] {
        if (x.state != ContextState::ready)
            s = Status::in_use;
        else if (x.caller != nullptr)
            s = Status::in_use;
        else {
            scheduler::detach(x);
            x.state = ContextState::stopped;
        }
    });
    return s;
}

Status kill_thread(Thread& x) {
    Status s = Status::ok;
    run_on(*x.core, [&] {
        if (x.state == ContextState::dead)
            s = Status::dead_partner;
        else
            x.die();
    });
    return s;
}

Status read_register(Thread& t, const Thread& x) {
    if (x.state != ContextState::dead && x.state != ContextState::stopped) return Status::in_use;
    const std::uint64_t index = t.gpr[gpr_rdx];
    std::uint64_t value;
    switch (static_cast<ThreadRegister>(index)) {
    case ThreadRegister::rip: value = x.rip; break;
    case ThreadRegister::rflags: value = x.rflags; break;
    case ThreadRegister::fault_vector: value = x.fault_vector; break;
    case ThreadRegister::fault_error: value = x.fault_error; break;
    case ThreadRegister::fault_address: value = x.fault_address; break;
    default:
        if (index >= 16) return Status::bad_argument;
        value = x.gpr[index];
    }
    t.gpr[gpr_rdi] = value;
    return Status::ok;
}

Status own_thread_control(Thread& t) {
    switch (static_cast<ThreadOp>(t.gpr[gpr_rsi])) {
    case ThreadOp::set_receive_slot:
        t.receive_slot = static_cast<Slot>(t.gpr[gpr_rdx]);
        return Status::ok;
    case ThreadOp::yield: scheduler::yield(); return Status::ok;
    default: return Status::bad_syscall;
    }
}

}  // namespace

// Whether the thread is alive is looked at where and when it is bound.
Status bind_portal(Portal& portal, CapSlot& thread, EstateLock& held) {
    auto& handler = object_of<Thread>(thread);
    if (handler.core != portal.core) return Status::wrong_core;
    if (!held.want(thread.estate, derivation::estate_of(portal.binding, thread.estate)))
        return Status::ok;
    Status s = derivation::can_attach(thread);
    if (s != Status::ok) return s;
    run_on(*portal.core, [&portal, &handler, &s] { s = portal.bind(handler); });
    if (s == Status::ok) derivation::bind(portal.binding, thread);
    return s;
}

Status set_death_event(Thread& t, Context& c, EstateLock& held) {
    if ((t.gpr[gpr_r9] & ~death_flag::quiet) != 0) return Status::bad_argument;
    if (t.gpr[gpr_rdx] == no_slot) {
        if (!c.death.is_bound()) return Status::ok;
        if (!held.want(c.death.estate)) return Status::ok;
        derivation::unbind(c.death);
        run_on(*c.core, [&c] { c.set_death_event(nullptr, 0); });
        return Status::ok;
    }
    const Result<CapSlot*> e = find_capability(t, t.gpr[gpr_rdx], ObjectType::event, right::signal);
    if (!e) return e.status();
    const Estate estate = (*e)->estate;
    if (!held.want(estate, derivation::estate_of(c.death, estate))) return Status::ok;
    const Status s = derivation::can_attach(**e);
    if (s != Status::ok) return s;
    derivation::bind(c.death, **e);
    auto& event = object_of<Event>(**e);
    const std::uint64_t bits = t.gpr[gpr_r8] & (*e)->badge;
    const bool quiet = t.gpr[gpr_r9] == death_flag::quiet;
    run_on(*c.core, [&c, &event, bits, quiet] { c.set_death_event(&event, bits, quiet); });
    return Status::ok;
}

Status portal_control(Thread& t, EstateLock& held) {
    const Result<CapSlot*> slot =
        find_capability(t, t.gpr[gpr_rdi], ObjectType::portal, right::bind);
    if (!slot) return slot.status();
    auto& portal = object_of<Portal>(**slot);
    switch (static_cast<PortalOp>(t.gpr[gpr_rsi])) {
    case PortalOp::bind: {
        const Result<CapSlot*> thread =
            find_capability(t, t.gpr[gpr_rdx], ObjectType::thread, right::control);
        if (!thread) return thread.status();
        return bind_portal(portal, **thread, held);
    }
    case PortalOp::unbind:
        if (portal.binding.is_bound()) {
            if (!held.want(portal.binding.estate)) return Status::ok;
            derivation::unbind(portal.binding);
        }
        run_on(*portal.core, [&portal] { portal.unbind(); });
        return Status::ok;
    }
    return Status::bad_syscall;
}

Status thread_control(Thread& t, EstateLock& held) {
    if (t.gpr[gpr_rdi] == no_slot) return own_thread_control(t);
    const Result<CapSlot*> slot =
        find_capability(t, t.gpr[gpr_rdi], ObjectType::thread, right::control);
    if (!slot) return slot.status();
    auto& x = object_of<Thread>(**slot);
    switch (static_cast<ThreadOp>(t.gpr[gpr_rsi])) {
    case ThreadOp::start: return start_thread(x);
    case ThreadOp::suspend: return suspend_thread(x);
    case ThreadOp::set_death_event: return set_death_event(t, x, held);
    case ThreadOp::read_registers: return read_register(t, x);
    case ThreadOp::kill: return kill_thread(x);
    default: return Status::bad_syscall;
    }
}

Status domain_control(Thread& t) {
    const Result<CapSlot*> slot =
        find_capability(t, t.gpr[gpr_rdi], ObjectType::domain, right::control);
    if (!slot) return slot.status();
    auto& d = object_of<Domain>(**slot);
    switch (static_cast<DomainOp>(t.gpr[gpr_rsi])) {
    case DomainOp::set_name:
        for (unsigned i = 0; i < 16; ++i) {
            const std::uint64_t word = i < 8 ? t.gpr[gpr_rdx] : t.gpr[gpr_r8];
            const auto c = static_cast<char>(word >> (i % 8) * 8);
            d.name[i] = c == 0 || (c >= 32 && c < 127) ? c : '?';
        }
        return Status::ok;
    case DomainOp::set_symbols: d.symbols = t.gpr[gpr_rdx]; return Status::ok;
    }
    return Status::bad_syscall;
}

Status move_irq(const Thread& t, Irq& irq) {
    const Result<CapSlot*> slot =
        find_capability(t, t.gpr[gpr_rdx], ObjectType::core, right::control);
    if (!slot) return slot.status();
    Core* to = Core::by_id(reinterpret_cast<std::uint64_t>((*slot)->object));
    if (to == nullptr || !irq.is_message()) return Status::bad_argument;
    Status s = Status::ok;
    Irq::Place left;
    run_on(irq.core(), [&irq, &s, &left, to] { s = irq.move(*to, left); });
    if (left.core != nullptr) run_on(*left.core, [&irq, &left] { irq.leave(left); });
    return s;
}

Status irq_control(Thread& t, EstateLock& held) {
    const Result<CapSlot*> slot =
        find_capability(t, t.gpr[gpr_rdi], ObjectType::irq, right::control);
    if (!slot) return slot.status();
    auto& irq = object_of<Irq>(**slot);
    switch (static_cast<IrqOp>(t.gpr[gpr_rsi])) {
    case IrqOp::bind: {
        const Result<CapSlot*> e =
            find_capability(t, t.gpr[gpr_rdx], ObjectType::event, right::signal);
        if (!e) return e.status();
        const std::uint64_t bits = t.gpr[gpr_r8] & (*e)->badge;
        if (bits == 0) return Status::bad_argument;
        const Estate estate = (*e)->estate;
        if (!held.want(estate, derivation::estate_of(irq.binding, estate))) return Status::ok;
        Status s = derivation::can_attach(**e);
        if (s != Status::ok) return s;
        derivation::bind(irq.binding, **e);
        auto& event = object_of<Event>(**e);
        run_on(irq.core(), [&irq, &event, &s, bits] { s = irq.bind(event, bits); });
        if (s != Status::ok) derivation::unbind(irq.binding);
        return s;
    }
    case IrqOp::unbind:
        if (irq.binding.is_bound()) {
            if (!held.want(irq.binding.estate)) return Status::ok;
            derivation::unbind(irq.binding);
        }
        run_on(irq.core(), [&irq] { irq.unbind(); });
        return Status::ok;
    case IrqOp::acknowledge: run_on(irq.core(), [&irq] { irq.acknowledge(); }); return Status::ok;
    case IrqOp::query: {
        if (!irq.is_message()) return Status::bad_argument;
        Result<iommu::Message> message = Status::dead_partner;
        run_on(irq.core(), [&irq, &message] { message = irq.message(); });
        if (!message) return message.status();
        t.gpr[gpr_rdi] = message->address;
        t.gpr[gpr_rsi] = message->data;
        return Status::ok;
    }
    case IrqOp::move: return move_irq(t, irq);
    }
    return Status::bad_syscall;
}

Status device_control(Thread& t, EstateLock& held) {
    const Result<CapSlot*> slot =
        find_capability(t, t.gpr[gpr_rdi], ObjectType::device, right::control);
    if (!slot) return slot.status();
    auto& device = object_of<Device>(**slot);
    switch (static_cast<DeviceOp>(t.gpr[gpr_rsi])) {
    case DeviceOp::attach: {
        const Result<CapSlot*> space =
            find_capability(t, t.gpr[gpr_rdx], ObjectType::dma_space, right::control);
        if (!space) return space.status();
        if (!held.want((*slot)->estate, (*space)->estate)) return Status::ok;
        if (device.attachment.is_bound()) return Status::in_use;
        const Status s = derivation::can_attach(**space);
        if (s != Status::ok) return s;
        derivation::bind(device.attachment, **space);
        device.attach(object_of<DmaSpace>(**space));
        return Status::ok;
    }
    case DeviceOp::detach:
        if (!held.want((*slot)->estate, derivation::estate_of(device.attachment, (*slot)->estate)))
            return Status::ok;
        device.detach();
        derivation::unbind(device.attachment);
        return Status::ok;
    case DeviceOp::query:
        t.gpr[gpr_rdi] = device.requester;
        t.gpr[gpr_rsi] = device.attachment.is_bound() ? 1 : 0;
        return Status::ok;
    }
    return Status::bad_syscall;
}

Status core_control(Thread& t) {
    const Result<CapSlot*> slot =
        find_capability(t, t.gpr[gpr_rdi], ObjectType::core, right::control);
    if (!slot) return slot.status();
    const Core* core = Core::by_id(reinterpret_cast<std::uint64_t>((*slot)->object));
    if (core == nullptr) return Status::bad_argument;
    const auto op = static_cast<CoreOp>(t.gpr[gpr_rsi]);
    if (op == CoreOp::events) {
        t.gpr[gpr_rdi] = core->stray_interrupts;
        t.gpr[gpr_rsi] = core->nmis;
        t.gpr[gpr_rdx] = core->machine_checks;
        t.gpr[gpr_r8] = core->device_messages;
        return Status::ok;
    }
    if (op != CoreOp::query) return Status::bad_syscall;
    t.gpr[gpr_rdi] = core->interrupts;
    t.gpr[gpr_rsi] = core->apic_id;
    t.gpr[gpr_rdx] = core->node;
    t.gpr[gpr_r8] = static_cast<std::uint64_t>(core->tsc_offset);
    t.gpr[gpr_r9] = core->tsc_error;
    t.gpr[gpr_r10] = core->flags;
    return Status::ok;
}

namespace {

bool has_port(const CapSlot& ports, std::uint64_t port) {
    return port >= ports.base && port - ports.base < ports.size;
}

Status drain_port(Thread& t, const CapSlot& m) {
    const std::uint64_t port = t.gpr[gpr_rdx], status = t.gpr[gpr_r8], mask = t.gpr[gpr_r9];
    const std::uint64_t most = t.gpr[gpr_r10];
    if (!has_port(m, port) || !has_port(m, status) || most > port_burst)
        return Status::bad_argument;
    if ((m.rights & right::read) == 0) return Status::no_right;
    std::uint64_t bytes[2] = {}, count = 0;
    while (count < most && (cpu::in8(static_cast<std::uint16_t>(status)) & mask) != 0) {
        const std::uint64_t byte = cpu::in8(static_cast<std::uint16_t>(port));
        bytes[count / 8] |= byte << count % 8 * 8;
        ++count;
    }
    t.gpr[gpr_rdi] = count;
    t.gpr[gpr_rsi] = bytes[0];
    t.gpr[gpr_rdx] = bytes[1];
    return Status::ok;
}

Status fill_port(Thread& t, const CapSlot& m) {
    const std::uint64_t port = t.gpr[gpr_rdx], count = t.gpr[gpr_r8];
    if (!has_port(m, port) || count > port_burst) return Status::bad_argument;
    if ((m.rights & right::write) == 0) return Status::no_right;
    const std::uint64_t bytes[2] = {t.gpr[gpr_r9], t.gpr[gpr_r10]};
    for (unsigned i = 0; i < count; ++i)
        cpu::out8(static_cast<std::uint16_t>(port),
                  static_cast<std::uint8_t>(bytes[i / 8] >> i % 8 * 8));
    return Status::ok;
}

}  // namespace

Status memory_control(Thread& t) {
    const Result<CapSlot*> slot = find_capability(t, t.gpr[gpr_rdi], ObjectType::memory, no_rights);
    if (!slot) return slot.status();
    const CapSlot& m = **slot;
    const auto op = static_cast<MemoryOp>(t.gpr[gpr_rsi]);
    if (op == MemoryOp::query) {
        t.gpr[gpr_rdi] = m.base;
        t.gpr[gpr_rsi] = m.size;
        t.gpr[gpr_rdx] = static_cast<std::uint64_t>(m.memory);
        return Status::ok;
    }
    if (op > MemoryOp::port_fill) return Status::bad_syscall;
    if (m.memory != MemoryType::ports) return Status::wrong_type;
    if (op == MemoryOp::port_drain) return drain_port(t, m);
    if (op == MemoryOp::port_fill) return fill_port(t, m);
    const std::uint64_t port = t.gpr[gpr_rdx], width = t.gpr[gpr_r8];
    if ((width != 1 && width != 2 && width != 4) || port < m.base || port - m.base > m.size ||
        width > m.size - (port - m.base))
        return Status::bad_argument;
    const auto p = static_cast<std::uint16_t>(port);
    if (op == MemoryOp::port_read) {
        if ((m.rights & right::read) == 0) return Status::no_right;
        t.gpr[gpr_rdi] = width == 1 ? cpu::in8(p) : width == 2 ? cpu::in16(p) : cpu::in32(p);
        return Status::ok;
    }
    if ((m.rights & right::write) == 0) return Status::no_right;
    const std::uint64_t value = t.gpr[gpr_r9];
    if (width == 1)
        cpu::out8(p, static_cast<std::uint8_t>(value));
    else if (width == 2)
        cpu::out16(p, static_cast<std::uint16_t>(value));
    else
        cpu::out32(p, static_cast<std::uint32_t>(value));
    return Status::ok;
}

}  // namespace margay
