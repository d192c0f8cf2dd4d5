// From the syscall stub to the function for each call.
#include "ukernel/core/capability_lock.hpp"
#include "ukernel/ipc/ipc.hpp"
#include "ukernel/object/derivation.hpp"
#include "ukernel/sched/scheduler.hpp"
#include "ukernel/syscall/capability.hpp"
#include "ukernel/syscall/system_call.hpp"

namespace margay {

namespace {

// Another core may have ended the thread while it waited for the lock.
bool still_runs(const Thread& t) { return Core::here().current == &t; }

void with_lock(Thread& t, Status (*call)(Thread&)) {
    const CapabilityLock lock;
    if (!still_runs(t)) return;
    const Status s = call(t);
    t.set_status(s);
}

// One bounded step per entry into the kernel: the thread repeats the instruction until nothing is
// left, and interrupts come through in between.
void revoke(Thread& t) {
    const CapabilityLock lock;
    if (!still_runs(t)) return;
    const Result<CapSlot*> slot = find_capability(t, t.gpr[gpr_rdi], ObjectType::none, 0);
    if (!slot || t.gpr[gpr_rsi] > revoke_flag::self) {
        t.set_status(slot ? Status::bad_argument : slot.status());
        return;
    }
    const bool self = t.gpr[gpr_rsi] == revoke_flag::self;
    if (derivation::revoke_step(**slot, self) == derivation::Progress::done) {
        if (t.state != ContextState::dead) t.set_status(Status::ok);
        return;
    }
    constexpr unsigned syscall_length = 2;
    t.rip -= syscall_length;
}

}  // namespace

extern "C" [[noreturn]] void system_call(Thread* thread) {
    Thread& t = *thread;
    switch (static_cast<Syscall>(t.gpr[gpr_rax])) {
    case Syscall::call:
        if ((t.gpr[gpr_rsi] & label_transfer) != 0) {
            const CapabilityLock lock;
            if (still_runs(t)) slow_call(t);
        } else {
            slow_call(t);
        }
        break;
    case Syscall::reply_wait:
        if ((t.gpr[gpr_rsi] & label_transfer) != 0 || t.callers_wait != 0) {
            const CapabilityLock lock;
            if (still_runs(t)) slow_reply_wait(t);
        } else {
            slow_reply_wait(t);
        }
        break;
    case Syscall::signal: t.set_status(signal_event(t)); break;
    case Syscall::wait: wait_event(t); break;
    case Syscall::create: with_lock(t, create_object); break;
    case Syscall::copy: with_lock(t, copy_call); break;
    case Syscall::revoke: revoke(t); break;
    case Syscall::map: with_lock(t, map_memory); break;
    case Syscall::portal_ctl: with_lock(t, portal_control); break;
    case Syscall::vcpu_ctl: with_lock(t, vcpu_control); break;
    case Syscall::thread_ctl: with_lock(t, thread_control); break;
    case Syscall::domain_ctl: with_lock(t, domain_control); break;
    case Syscall::irq_ctl: with_lock(t, irq_control); break;
    case Syscall::memory_ctl: with_lock(t, memory_control); break;
    case Syscall::core_ctl: with_lock(t, core_control); break;
    default: t.set_status(Status::bad_syscall); break;
    }
    scheduler::leave();
}

}  // namespace margay
