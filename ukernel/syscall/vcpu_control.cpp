#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/core/core.hpp"
#include "ukernel/object/capability.hpp"
#include "ukernel/object/event.hpp"
#include "ukernel/object/vcpu.hpp"
#include "ukernel/sched/scheduler.hpp"
#include "ukernel/syscall/system_call.hpp"
#include "ukernel/tree/derivation.hpp"

namespace margay {

namespace {

// One of the two targets of a row.
Status bind_row(Thread& t, Vcpu& v, bool policy, EstateLock& held) {
    const std::uint64_t number = t.gpr[gpr_rdx];
    const std::uint64_t wanted = t.gpr[gpr_r9];
    if (number >= exit_classes || (wanted & ~state::valid_groups) != 0) return Status::bad_argument;
    ExitTarget& target = policy ? v.rows[number].policy : v.rows[number].base;
    Portal* portal = nullptr;
    std::uint64_t badge = 0;
    if (t.gpr[gpr_r8] == no_slot) {
        if (target.binding.is_bound()) {
            if (!held.want(target.binding.estate)) return Status::ok;
            derivation::unbind(target.binding);
        }
    } else {
        const Result<CapSlot*> p =
            find_capability(t, t.gpr[gpr_r8], ObjectType::portal, right::call);
        if (!p) return p.status();
        portal = &object_of<Portal>(**p);
        badge = (*p)->badge;
        if (portal->core != v.core) return Status::wrong_core;
        const Estate estate = (*p)->estate;
        if (!held.want(estate, derivation::estate_of(target.binding, estate))) return Status::ok;
        const Status s = derivation::can_attach(**p);
        if (s != Status::ok) return s;
        derivation::bind(target.binding, **p);
    }
    // On the vCPU's core, so that a row changes between two exits, never within one.
    run_on(*v.core, [&] { v.set_target(target, portal, badge, wanted); });
    return Status::ok;
}

Status bind_event(Thread& t, Vcpu& v, EstateLock& held) {
    if (t.gpr[gpr_rdx] == no_slot) {
        if (v.event_binding.is_bound()) {
            if (!held.want(v.event_binding.estate)) return Status::ok;
            derivation::unbind(v.event_binding);
        }
        run_on(*v.core, [&v] { (void)v.set_event(nullptr); });
        return Status::ok;
    }
    const Result<CapSlot*> e = find_capability(t, t.gpr[gpr_rdx], ObjectType::event, right::wait);
    if (!e) return e.status();
    const Estate estate = (*e)->estate;
    if (!held.want(estate, derivation::estate_of(v.event_binding, estate))) return Status::ok;
    Status s = derivation::can_attach(**e);
    if (s != Status::ok) return s;
    auto& event = object_of<Event>(**e);
    run_on(*v.core, [&] { s = v.set_event(&event); });
    if (s == Status::ok) derivation::bind(v.event_binding, **e);
    return s;
}

// Without disturbing the vCPU's core: a supervisor asks now and then, and a guest on a core of its own
// must not notice. Each word is read whole.
void query(Thread& t, const Vcpu& v) {
    const std::uint32_t delivery = __atomic_load_n(&v.delivery, __ATOMIC_ACQUIRE);
    ContextState state;
    __atomic_load(&v.state, &state, __ATOMIC_ACQUIRE);
    t.gpr[gpr_rdi] = __atomic_load_n(&v.sequence, __ATOMIC_ACQUIRE);
    t.gpr[gpr_rsi] =
        ((delivery & delivery::pending) != 0 ? vcpu_flag::pending : 0) |
        (state == ContextState::calling ? vcpu_flag::in_service : 0) |
        (state == ContextState::dead ? vcpu_flag::dead : 0) |
        (state == ContextState::stopped ? vcpu_flag::stopped : 0) |
        ((delivery & delivery::forwarded) != 0 ? vcpu_flag::forwarded : 0) |
        std::uint64_t{__atomic_load_n(reinterpret_cast<const std::uint8_t*>(&v.pending.exit_class),
                                      __ATOMIC_RELAXED)}
            << vcpu_flag::class_shift;
    // Its handler runs on this budget as well.
    t.gpr[gpr_rdx] = v.own.waited();
}

// For supervisors as well.
Status count(Thread& t, const Vcpu& v) {
    const std::uint64_t first = t.gpr[gpr_rdx];
    static constexpr unsigned results[] = {gpr_rdi, gpr_rsi, gpr_rdx, gpr_r8,
                                           gpr_r9,  gpr_r10, gpr_r12, gpr_r13};
    std::uint64_t found[2 * counted_at_once]{};
    if (first == first_kernel_exit) {
        for (unsigned i = 0; i < kernel_exits; ++i)
            found[i] = __atomic_load_n(&v.counters.by_kernel[i], __ATOMIC_RELAXED);
    } else if (first < exit_classes) {
        for (unsigned i = 0; i < counted_at_once && first + i < exit_classes; ++i) {
            const ExitsOfClass c = v.count(static_cast<ExitClass>(first + i));
            found[2 * i] = c.count;
            found[2 * i + 1] = c.ticks;
        }
    } else {
        return Status::bad_argument;
    }
    for (unsigned i = 0; i < 2 * counted_at_once; ++i) t.gpr[results[i]] = found[i];
    return Status::ok;
}

}  // namespace

Status vcpu_control(Thread& t, EstateLock& held) {
    const auto op = static_cast<VcpuOp>(t.gpr[gpr_rsi]);
    const bool looks = op == VcpuOp::read_state || op == VcpuOp::query || op == VcpuOp::count_exits;
    const Result<CapSlot*> slot = find_capability(t, t.gpr[gpr_rdi], ObjectType::vcpu,
                                                  looks ? right::inspect : right::control);
    if (!slot) return slot.status();
    auto& v = object_of<Vcpu>(**slot);
    Status s = Status::ok;
    switch (op) {
    case VcpuOp::bind_row: return bind_row(t, v, false, held);
    case VcpuOp::bind_policy: return bind_row(t, v, true, held);
    case VcpuOp::bind_event: return bind_event(t, v, held);
    case VcpuOp::start:
        run_on(*v.core, [&] {
            if (v.state != ContextState::stopped || v.sequence != 0)
                s = Status::in_use;
            else {
                // A restored VM goes on counting: a number names one exit for ever.
                v.sequence = t.gpr[gpr_rdx];
                v.deliver(ExitClass::startup, 0);
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
    case VcpuOp::set_death_event: return set_death_event(t, v, held);
    case VcpuOp::query: query(t, v); return s;
    case VcpuOp::count_exits: return count(t, v);
    }
    return Status::bad_syscall;
}

}  // namespace margay
