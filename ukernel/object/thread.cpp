#include "ukernel/object/thread.hpp"

#include "ukernel/debug/assert.hpp"
#include "ukernel/ipc/transfer.hpp"
#include "ukernel/memory/kernel_tables.hpp"
#include "ukernel/object/domain.hpp"
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
    in.threads.push_back(*this);
    in.cores |= 1ull << on_core.id;
}

namespace {

// The context that serves h's call at the end of the chain, or null.
Context* callee_of(Context& h) {
    for (Context& c : h.core->contexts)
        if (c.caller == &h) return &c;
    return nullptr;
}

// The budget on which h's work goes on right now; it is taken away from whoever runs on it, who
// continues on its own. h must be about to end.
Budget* reclaim_budget(Context& h) {
    Core& core = *h.core;
    Context* end = &h;
    while (end->state == ContextState::calling) {
        Context* next = callee_of(*end);
        if (next == nullptr) return &end->own;
        end = next;
    }
    if (end == &h) return h.on != nullptr ? h.on : &h.own;
    Budget* b;
    if (core.current == end) {
        b = core.budget;
        core.budget = &end->own;
        core.reschedule = true;
    } else {
        b = end->on;
        const bool queued = b != nullptr && b->is_queued();
        if (queued) core.ready.remove(*b);
        end->on = &end->own;
        end->own.resume = end;
        if (queued) core.ready.push_back(end->own);
    }
    return b;
}

}  // namespace

// What Thread and Vcpu do alike when they end: whoever serves them goes on without a caller.
void release_servant(Context& h) {
    if (h.state != ContextState::calling) return;
    Context* servant = callee_of(h);
    reclaim_budget(h);
    if (servant != nullptr) servant->caller = nullptr;
}

void Thread::die() {
    const bool was_calling = state == ContextState::calling;
    Context* servant = was_calling ? callee_of(*this) : nullptr;
    scheduler::detach(*this);
    Budget* b = reclaim_budget(*this);
    if (servant != nullptr) servant->caller = nullptr;
    state = ContextState::dead;
    while (!portals.empty()) portals.front().unbind();
    if (Context* waiting = caller) {
        caller = nullptr;
        waiting->on = b == &own ? &waiting->own : b;
        if (waiting->is_thread()) {
            static_cast<Thread*>(waiting)->set_status(Status::dead_partner);
            scheduler::make_ready(*waiting);
        } else {
            static_cast<Vcpu*>(waiting)->send_again();
        }
    }
    if (death_event != nullptr) death_event->signal(death_bits);
}

void Thread::destroy() {
    run_on(*core, [this] {
        if (state != ContextState::dead) {
            death_event = nullptr;
            die();
        }
        if (DomainHook::is_linked()) DomainHook::unlink();
        if (OnCoreHook::is_linked()) OnCoreHook::unlink();
        domain = nullptr;
    });
}

void Thread::accept_queued() {
    MARGAY_DEBUG_EXPECT(!pending.empty());
    Portal* best = &pending.front();
    for (Portal& p : pending)
        if (p.queue.front().own.priority > best->queue.front().own.priority) best = &p;
    Context& c = best->queue.front();
    best->queue.pop_front();
    c.queued_on = nullptr;
    best->update_pending();
    c.state = ContextState::calling;
    caller = &c;
    open_on = nullptr;
    // The caller's budget carries the handler from here on.
    Budget* b = c.on != nullptr ? c.on : &c.own;
    c.on = nullptr;
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
    on = b;
    scheduler::make_ready(*this);
}

}  // namespace margay
