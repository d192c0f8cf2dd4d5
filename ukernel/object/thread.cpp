#include "ukernel/object/thread.hpp"

#include "ukernel/debug/assert.hpp"
#include "ukernel/object/domain.hpp"
#include "ukernel/object/event.hpp"
#include "ukernel/object/transfer.hpp"
#include "ukernel/object/vcpu.hpp"
#include "ukernel/sched/scheduler.hpp"

namespace margay {

Thread::Thread(Domain& in, Core& on_core, unsigned priority, std::uint64_t entry,
               std::uint64_t stack, std::uint64_t argument)
    : domain{&in} {
    core = &on_core;
    kind = ContextKind::thread;
    cr3 = in.cr3;
    slots = in.slots;
    slot_count = in.slot_count;
    rip = entry;
    gpr[gpr_rsp] = stack;
    gpr[gpr_rdi] = argument;
    own.owner = this;
    own.priority = static_cast<std::uint8_t>(priority);
    on = &own;
    full_frame = 1;
    in.cores.add(on_core.id);
    const SpinGuard lock{in.guard};
    in.threads.push_back(*this);
}

void sever(Context& dying) {
    Core& core = *dying.core;
    Budget& budget = budget_of(dying);
    Context* servant = dying.state == ContextState::calling ? dying.callee : nullptr;
    scheduler::detach(dying);
    if (servant != nullptr) {
        // The end of the chain has the budget. It goes on with that of its new beginning.
        servant->caller = nullptr;
        if (core.budget == &budget) {
            core.budget = &servant->own;
            core.reschedule = true;
        } else {
            Context& end = *budget.resume;
            const bool queued = budget.is_queued();
            if (queued) core.ready.remove(budget);
            end.on = &servant->own;
            servant->own.resume = &end;
            if (queued) core.ready.push_back(servant->own);
        }
    }
    dying.state = ContextState::dead;
    if (Context* waiting = dying.caller) {
        dying.caller = nullptr;
        waiting->on = &budget;
        budget.resume = waiting;
    }
}

void Thread::die() {
    Context* waiting = caller;
    sever(*this);
    while (!portals.empty()) portals.front().unbind();
    if (restart.under_way) {
        // What it was taking away stays; whoever asks for it again begins anew.
        restart.under_way = false;
        CapSlot& slot = slots[restart.slot];
        if (slot.serial == restart.serial)
            __atomic_store_n(&slot.revoking, false, __ATOMIC_RELEASE);
    }
    if (waiting != nullptr) {
        if (waiting->is_thread()) {
            static_cast<Thread*>(waiting)->set_status(Status::dead_partner);
            scheduler::make_ready(*waiting);
        } else {
            static_cast<Vcpu*>(waiting)->send_again();
        }
    }
    signal_death();
}

void Thread::destroy() {
    run_on(*core, [this] {
        if (state != ContextState::dead) die();
        if (Domain* d = domain) {
            const SpinGuard lock{d->guard};
            DomainHook::unlink();
            domain = nullptr;
        }
    });
    core->contexts.fetch_sub(1);
}

Context& Thread::next_caller() {
    MARGAY_DEBUG_EXPECT(!pending.empty());
    Context* best = &pending.front().queue.front();
    for (Portal& p : pending)
        if (p.queue.front().own.priority > best->own.priority) best = &p.queue.front();
    return *best;
}

void Thread::ask_again() {
    open_on = nullptr;
    gpr[gpr_rax] = static_cast<std::uint64_t>(Syscall::reply_wait);
    gpr[gpr_rsi] = 0;
    full_frame = 0;
    repeat_call();
    on = &own;
    scheduler::make_ready(*this);
}

void Thread::accept_queued() {
    Context& c = next_caller();
    Portal& portal = *c.queued_on;
    portal.queue.erase(portal.queue.iterator_to(c));
    c.queued_on = nullptr;
    portal.update_pending();
    c.state = ContextState::calling;
    c.callee = this;
    caller = &c;
    open_on = nullptr;
    on = c.on;  // the caller's budget carries it from here on
    if (c.is_thread()) {
        auto& from = static_cast<Thread&>(c);
        set_status(Status::ok);
        gpr[gpr_rdi] = c.queued_badge;
        gpr[gpr_rsi] = from.gpr[gpr_rsi];
        gpr[gpr_rdx] = from.gpr[gpr_rdx];
        gpr[gpr_r8] = from.gpr[gpr_r8];
        gpr[gpr_r9] = from.gpr[gpr_r9];
        gpr[gpr_r10] = from.gpr[gpr_r10];
        gpr[gpr_r12] = from.gpr[gpr_r12];
        gpr[gpr_r13] = from.gpr[gpr_r13];
        transfer_capability(from, *this);
    } else {
        static_cast<Vcpu&>(c).fill_message(*this, c.queued_badge);
    }
    full_frame = 0;
    scheduler::make_ready(*this);
}

}  // namespace margay
