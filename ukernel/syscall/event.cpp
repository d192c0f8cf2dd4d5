// signal and wait. Neither takes a lock.
#include "ukernel/object/event.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/object/capability.hpp"
#include "ukernel/sched/scheduler.hpp"
#include "ukernel/syscall/system_call.hpp"

namespace margay {

Status signal_event(Thread& t) {
    const Result<CapSlot*> slot =
        find_capability(t, t.gpr[gpr_rdi], ObjectType::event, right::signal);
    if (!slot) return slot.status();
    const std::uint64_t bits = t.gpr[gpr_rsi] & (*slot)->badge;
    if (bits == 0) return Status::bad_argument;
    object_of<Event>(**slot).signal(bits);
    return Status::ok;
}

void wait_event(Thread& t) {
    const Result<CapSlot*> slot =
        find_capability(t, t.gpr[gpr_rdi], ObjectType::event, right::wait);
    if (!slot) {
        t.set_status(slot.status());
        return;
    }
    auto& e = object_of<Event>(**slot);
    Waiter nobody;
    if (!e.waiter.compare_exchange_strong(nobody, Waiter{t})) {
        t.set_status(Status::in_use);
        return;
    }
    // After the waiter is published (see Event::signal).
    if (const std::uint64_t bits = e.take(); bits != 0) {
        e.leave();
        t.gpr[gpr_rdi] = bits;
        t.set_status(Status::ok);
        return;
    }
    const std::uint64_t deadline = t.gpr[gpr_rsi];
    if (deadline <= cpu::rdtsc()) {
        e.leave();
        t.gpr[gpr_rdi] = 0;
        t.set_status(Status::timed_out);
        return;
    }
    t.through = *slot;
    t.waits_for = &e;
    t.gpr[gpr_rdi] = 0;
    scheduler::block_current(ContextState::waiting);
    if (deadline != no_deadline) scheduler::set_deadline(t, deadline);
}

}  // namespace margay
