// reply_wait: the slow half of IPC, and the replies to VM exits.
#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/arch/x86_64/enter.hpp"
#include "ukernel/core/measure.hpp"
#include "ukernel/exit/exit_switch.hpp"
#include "ukernel/ipc/ipc.hpp"
#include "ukernel/object/transfer.hpp"
#include "ukernel/sched/scheduler.hpp"

namespace margay {

namespace {

// The handler waits for its next caller from now on. It is not current any more.
void accept(Core& core, Thread& handler) {
    handler.caller = nullptr;
    handler.state = ContextState::accepting;
    handler.open_on = &core;
}

// Answers the vCPU that the handler serves. On success the vCPU is current.
Status answer_vcpu(Core& core, Thread& handler, Vcpu& v, std::uint64_t label,
                   std::uint64_t sequence, std::uint64_t dirty, std::uint64_t rax,
                   std::uint64_t vector, std::uint64_t deadline) {
    const Status s = v.reply(label, sequence, dirty, rax, vector, deadline);
    if (s != Status::ok) return s;
    accept(core, handler);
    core.current = &v;
    v.go_on();
    return Status::ok;
}

}  // namespace

// From the syscall stub: the handler of a vCPU replies and nobody else waits for it.
extern "C" [[noreturn]] void vcpu_reply_wait(Thread* handler, std::uint64_t label,
                                             std::uint64_t sequence, std::uint64_t dirty,
                                             std::uint64_t rax, std::uint64_t vector) {
    Core& core = Core::here();
    measure::entered(core.id);
    auto& v = static_cast<Vcpu&>(*handler->caller);
    if (reply_simply(core, *handler, v, label, sequence, dirty, rax)) [[likely]] {
        if (v.attention == 0 && !core.reschedule) [[likely]]
            backend::enter(core, v);
        scheduler::leave();
    }
    const Status s =
        answer_vcpu(core, *handler, v, label, sequence, dirty, rax, vector, handler->gpr[gpr_r12]);
    if (s != Status::ok) {
        handler->set_status(s);
        handler->full_frame = 0;
        measure::left(core.id);
        enter_thread_result(handler);
    }
    if (core.current == &v && v.attention == 0 && !core.reschedule) [[likely]]
        backend::enter(core, v);
    scheduler::leave();
}

void slow_reply_wait(Thread& t, EstateLock& held) {
    Core& core = Core::here();
    // Who is taken from a queue may bring a capability, and so may the reply; both need a lock before
    // anything changes. After a reply, the handler comes again for the caller.
    Context* caller = t.caller;
    const bool to_thread = caller != nullptr && caller->is_thread();
    if (to_thread && !can_transfer(t, held)) return;
    if (caller == nullptr && t.callers_wait != 0 && !can_transfer(t.next_caller(), held)) return;
    if (to_thread) {
        auto& to = static_cast<Thread&>(*caller);
        to.gpr[gpr_rdi] = 0;
        to.gpr[gpr_rsi] = t.gpr[gpr_rsi];
        to.gpr[gpr_rdx] = t.gpr[gpr_rdx];
        to.gpr[gpr_r8] = t.gpr[gpr_r8];
        to.gpr[gpr_r9] = t.gpr[gpr_r9];
        to.gpr[gpr_r10] = t.gpr[gpr_r10];
        to.gpr[gpr_r12] = t.gpr[gpr_r12];
        to.gpr[gpr_r13] = t.gpr[gpr_r13];
        to.set_status(Status::ok);
        to.full_frame = 0;
        transfer_capability(t, to);
        to.state = ContextState::ready;
        accept(core, t);
        core.current = &to;
    } else if (caller != nullptr) {
        const Status s =
            answer_vcpu(core, t, static_cast<Vcpu&>(*caller), t.gpr[gpr_rsi], t.gpr[gpr_rdx],
                        t.gpr[gpr_r8], t.gpr[gpr_r9], t.gpr[gpr_r10], t.gpr[gpr_r12]);
        if (s != Status::ok) {
            t.set_status(s);
            return;
        }
    } else {
        // Its own budget rests until somebody calls.
        accept(core, t);
        core.current = nullptr;
        core.budget = nullptr;
        core.reschedule = true;
    }
    // answer_vcpu may have led another exit to this handler already.
    if (t.callers_wait == 0 || t.open_on == nullptr) return;
    if (caller == nullptr || !brings_capability(t.next_caller()))
        t.accept_queued();
    else
        t.ask_again();
}

}  // namespace margay
