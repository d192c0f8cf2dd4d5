#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/core/core.hpp"
#include "ukernel/object/event.hpp"
#include "ukernel/object/vcpu.hpp"
#include "ukernel/sched/scheduler.hpp"
#include "ukernel/syscall/capability.hpp"
#include "ukernel/syscall/system_call.hpp"

namespace margay {

Status set_death_event(Thread& t, Context& c);

namespace {

Status bind_row(Thread& t, Vcpu& v) {
    const std::uint64_t number = t.gpr[gpr_rdx];
    const std::uint64_t wanted = t.gpr[gpr_r9];
    if (number >= exit_classes || (wanted & ~state::valid_groups) != 0) return Status::bad_argument;
    Portal* portal = nullptr;
    std::uint64_t badge = 0;
    if (t.gpr[gpr_r8] != no_slot) {
        const Result<CapSlot*> p =
            find_capability(t, t.gpr[gpr_r8], ObjectType::portal, right::call);
        if (!p) return p.status();
        portal = static_cast<Portal*>((*p)->object);
        badge = (*p)->badge;
        if (portal->core != v.core) return Status::wrong_core;
    }
    // On the vCPU's core, so that a row changes between two exits, never within one.
    run_on(*v.core, [&] {
        ExitRow& row = v.rows[number];
        if (row.is_linked()) row.unlink();
        row.portal = portal;
        row.wanted = wanted;
        row.badge = badge;
        if (portal == nullptr) return;
        portal->rows.push_back(row);
        // An exit whose portal was destroyed waits for its own row or the default one; other rows may
        // be bound before them.
        const bool waits_for_it = number == static_cast<std::uint64_t>(v.pending.exit_class) ||
                                  number == static_cast<std::uint64_t>(ExitClass::other);
        if (v.has_pending() && v.state == ContextState::stopped && waits_for_it) v.send();
    });
    return Status::ok;
}

Status bind_event(Thread& t, Vcpu& v) {
    Event* event = nullptr;
    if (t.gpr[gpr_rdx] != no_slot) {
        const Result<CapSlot*> e =
            find_capability(t, t.gpr[gpr_rdx], ObjectType::event, right::wait);
        if (!e) return e.status();
        event = static_cast<Event*>((*e)->object);
        if (event->waiter.load() != nullptr) return Status::in_use;
    }
    Status s = Status::ok;
    run_on(*v.core, [&] {
        if (v.event != nullptr) v.event->waiter.store(nullptr);
        v.event = event;
        if (event == nullptr) return;
        Context* nobody = nullptr;
        if (!event->waiter.compare_exchange_strong(nobody, &v)) {
            v.event = nullptr;
            s = Status::in_use;
            return;
        }
        event->deliver();  // bits that were latched before
    });
    return s;
}

// Without disturbing the vCPU's core: a supervisor asks now and then, and a guest on a core of its own
// must not notice. Each word is read whole.
void query(Thread& t, const Vcpu& v) {
    const std::uint32_t delivery = __atomic_load_n(&v.delivery, __ATOMIC_ACQUIRE);
    const ContextState state = __atomic_load_n(&v.state, __ATOMIC_ACQUIRE);
    t.gpr[gpr_rdi] = __atomic_load_n(&v.sequence, __ATOMIC_ACQUIRE);
    t.gpr[gpr_rsi] = ((delivery & delivery::pending) != 0 ? vcpu_flag::pending : 0) |
                     (state == ContextState::calling ? vcpu_flag::in_service : 0) |
                     (state == ContextState::dead ? vcpu_flag::dead : 0) |
                     (state == ContextState::stopped ? vcpu_flag::stopped : 0);
}

}  // namespace

Status vcpu_control(Thread& t) {
    const Result<CapSlot*> slot =
        find_capability(t, t.gpr[gpr_rdi], ObjectType::vcpu, right::control);
    if (!slot) return slot.status();
    auto& v = *static_cast<Vcpu*>((*slot)->object);
    Status s = Status::ok;
    switch (static_cast<VcpuOp>(t.gpr[gpr_rsi])) {
    case VcpuOp::bind_row: return bind_row(t, v);
    case VcpuOp::bind_event: return bind_event(t, v);
    case VcpuOp::start:
        run_on(*v.core, [&] {
            if (v.state != ContextState::stopped || v.sequence != 0)
                s = Status::in_use;
            else {
                // A restored VM goes on counting: a number names one exit for ever.
                v.sequence = t.gpr[gpr_rdx];
                v.deliver(ExitClass::startup, 0, 0, 0);
            }
        });
        return s;
    case VcpuOp::recall:
        run_on(*v.core, [&] {
            if (v.state == ContextState::dead)
                s = Status::dead_partner;
            else
                v.notify(attention::recall);
        });
        return s;
    case VcpuOp::read_state:
        if ((t.gpr[gpr_rdx] & ~state::valid_groups) != 0) return Status::bad_argument;
        run_on(*v.core, [&] {
            // A vCPU that failed can be looked at as well.
            const bool still = v.has_pending() || v.state == ContextState::dead ||
                               v.state == ContextState::stopped;
            if (!still || v.page == nullptr)
                s = Status::in_use;
            else
                backend::store_state(v, t.gpr[gpr_rdx]);
        });
        return s;
    case VcpuOp::suspend:
        // With a recall, so that the handler learns what the guest has taken: its state is then whole.
        run_on(*v.core, [&] { v.notify(attention::recall | attention::suspended); });
        return s;
    case VcpuOp::resume:
        run_on(*v.core, [&] {
            v.attention &= ~attention::suspended;
            if (v.state != ContextState::stopped || v.sequence == 0 || v.has_pending()) return;
            // A vCPU that slept goes on sleeping, unless something arrived for it meanwhile.
            if (v.parks_again && v.attention == 0)
                v.state = ContextState::parked;
            else
                scheduler::make_ready(v);
            v.parks_again = false;
        });
        return s;
    case VcpuOp::set_death_event: return set_death_event(t, v);
    case VcpuOp::query: query(t, v); return s;
    }
    return Status::bad_syscall;
}

}  // namespace margay
