// From the syscall stub to the function for each call.
#include "ukernel/core/estate.hpp"
#include "ukernel/core/measure.hpp"
#include "ukernel/ipc/ipc.hpp"
#include "ukernel/object/domain.hpp"
#include "ukernel/object/revocation.hpp"
#include "ukernel/sched/scheduler.hpp"
#include "ukernel/syscall/system_call.hpp"

namespace margay {

namespace {

// Another core may have ended the thread while it waited.
bool still_runs(const Thread& t) { return Core::here().current == &t; }

// While it waits for a lock the thread can be ended or suspended, and even its memory can go: it is left
// in a state in which it makes its call again.
template <typename Call>
void with_estates(Thread& t, Call call) {
    EstateLock held;
    for (;;) {
        call(held);
        if (!held.wants_more()) return;
        t.repeat_call();
        held.take_wanted();
        if (!still_runs(t)) return;
        t.go_on();
    }
}

void change_tree(Thread& t, Status (*call)(Thread&, EstateLock&)) {
    with_estates(t, [&t, call](EstateLock& held) {
        const Status s = call(t, held);
        if (!held.wants_more()) t.set_status(s);
    });
}

// One bounded step per entry into the kernel: the thread repeats the call until nothing is left, and
// interrupts come through in between. What it began on is told by the slot's serial number: a slot that
// was emptied and filled again meanwhile is not what was to be revoked.
void revoke(Thread& t) {
    EstateLock held;
    for (;;) {
        const std::uint64_t number = t.gpr[gpr_rdi], flags = t.gpr[gpr_rsi];
        Thread::Restart& r = t.restart;
        if (r.under_way && r.slot != number) r.under_way = false;
        CapSlot* slot = number < t.slot_count ? &t.slots[number] : nullptr;
        const bool there = slot != nullptr &&
                           (type_of(*slot) != ObjectType::none || slot->removal != Removal::none);
        const bool another = there && r.under_way && slot->serial != r.serial;
        if (!there || another || flags > revoke_flag::self) {
            t.set_status(r.under_way ? Status::ok
                         : there     ? Status::bad_argument
                                     : Status::bad_capability);
            r.under_way = false;
            return;
        }
        const bool self = flags == revoke_flag::self;
        const Node* parent = slot->parent;
        const Estate also = r.under_way                 ? r.also
                            : self && parent != nullptr ? parent->estate
                                                        : slot->estate;
        if (held.want(slot->estate, also)) {
            r = {true, static_cast<Slot>(number), slot->serial, slot->estate};
            Estate needs = slot->estate;
            t.repeat_call();
            const auto progress = derivation::revoke_step(*slot, self, held, needs);
            // It waits for epochs: the thread may be gone.
            if (!still_runs(t)) return;
            t.restart.also = needs;
            if (progress == derivation::Progress::done) {
                t.go_on();
                t.restart.under_way = false;
                t.set_status(Status::ok);
            }
            return;
        }
        t.repeat_call();
        held.take_wanted();
        if (!still_runs(t)) return;
        t.go_on();
    }
}

}  // namespace

extern "C" [[noreturn]] void system_call(Thread* thread) {
    Thread& t = *thread;
    measure::entered(t.core->id);
    const auto number = static_cast<Syscall>(t.gpr[gpr_rax]);
    switch (number) {
    case Syscall::call: with_estates(t, [&t](EstateLock& held) { slow_call(t, held); }); break;
    case Syscall::reply_wait:
        with_estates(t, [&t](EstateLock& held) { slow_reply_wait(t, held); });
        break;
    case Syscall::signal: t.set_status(signal_event(t)); break;
    case Syscall::wait: wait_event(t); break;
    case Syscall::create: change_tree(t, create_object); break;
    case Syscall::copy: change_tree(t, copy_call); break;
    case Syscall::revoke: revoke(t); break;
    case Syscall::map: change_tree(t, map_memory); break;
    case Syscall::portal_ctl: change_tree(t, portal_control); break;
    case Syscall::vcpu_ctl: change_tree(t, vcpu_control); break;
    case Syscall::thread_ctl: change_tree(t, thread_control); break;
    case Syscall::domain_ctl: t.set_status(domain_control(t)); break;
    case Syscall::irq_ctl: change_tree(t, irq_control); break;
    case Syscall::device_ctl: change_tree(t, device_control); break;
    case Syscall::memory_ctl: t.set_status(memory_control(t)); break;
    case Syscall::core_ctl: t.set_status(core_control(t)); break;
    default: t.set_status(Status::bad_syscall); break;
    }
    scheduler::leave();
}

}  // namespace margay
