#include "ukernel/sched/scheduler.hpp"

#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/enter.hpp"
#include "ukernel/core/epoch.hpp"
#include "ukernel/core/feature.hpp"
#include "ukernel/core/measure.hpp"
#include "ukernel/debug/assert.hpp"
#include "ukernel/object/event.hpp"
#include "ukernel/object/portal.hpp"
#include "ukernel/object/thread.hpp"
#include "ukernel/object/vcpu.hpp"

namespace margay::scheduler {

namespace {

constexpr std::uint64_t quantum_ms = 10;

void arm(Core& core) {
    std::uint64_t next = core.quantum_end;
    if (!core.deadlines.empty() && core.deadlines.begin()->at < next)
        next = core.deadlines.begin()->at;
    if (next == core.armed_for) return;
    core.armed_for = next;
    apic::arm_timer(next);
}

// A quantum only matters while somebody of the same priority waits: a lone context is never
// interrupted.
void update_quantum(Core& core, bool fresh) {
    const bool shared = core.budget != nullptr && core.ready.has(core.budget->priority);
    if (!shared)
        core.quantum_end = no_deadline;
    else if (fresh || core.quantum_end == no_deadline)
        core.quantum_end = cpu::rdtsc() + features().tsc_khz * quantum_ms;
    arm(core);
}

void preempt(Core& core, bool to_tail) {
    Context& c = *core.current;
    c.on = core.budget;
    core.budget->resume = &c;
    if (to_tail)
        core.ready.push_back(*core.budget);
    else
        core.ready.push_front(*core.budget);
    core.current = nullptr;
    core.budget = nullptr;
}

void pick(Core& core) {
    core.reschedule = false;
    if (core.current != nullptr) {
        if (core.ready.highest() <= core.budget->priority) {
            update_quantum(core, false);
            return;
        }
        preempt(core, false);
    }
    Budget* b = core.ready.pop();
    core.budget = b;
    if (b != nullptr) core.current = b->resume;
    update_quantum(core, true);
}

[[noreturn]] void enter_thread(Core& core, Thread& t) {
    measure::left(core.id);
    if (t.cr3 != core.cr3) {
        core.cr3 = t.cr3;
        cpu::write_cr3(t.cr3);
        changed_domain(core);
    }
    if (t.full_frame != 0) {
        t.full_frame = 0;
        enter_thread_full(&t);
    }
    enter_thread_result(&t);
}

}  // namespace

void make_ready(Context& c) {
    if (c.state == ContextState::dead) return;
    Core& core = *c.core;
    MARGAY_DEBUG_EXPECT(&core == &Core::here());
    // A thread waited until then; a vCPU's deadline stays until it passes or a reply moves it.
    if (c.is_thread() && c.deadline.is_linked()) set_deadline(c, no_deadline);
    c.state = ContextState::ready;
    MARGAY_DEBUG_EXPECT(c.on == &budget_of(c));
    c.on->resume = &c;
    core.ready.push_back(*c.on);
    core.reschedule = true;
}

void block_current(ContextState why) {
    Core& core = Core::here();
    Context& c = *core.current;
    MARGAY_DEBUG_EXPECT(core.budget == &budget_of(c));
    c.state = why;
    c.on = core.budget;
    c.on->resume = &c;
    core.current = nullptr;
    core.budget = nullptr;
    core.reschedule = true;
}

void detach(Context& c) {
    Core& core = *c.core;
    MARGAY_DEBUG_EXPECT(&core == &Core::here());
    if (c.deadline.is_linked()) set_deadline(c, no_deadline);
    if (c.waits_for != nullptr) {
        c.waits_for->leave();
        c.waits_for = nullptr;
    }
    if (c.queued_on != nullptr) {
        Portal& p = *c.queued_on;
        c.Context::QueueHook::unlink();
        c.queued_on = nullptr;
        p.update_pending();
    }
    c.open_on = nullptr;
    if (core.current == &c) {
        c.on = core.budget;
        core.current = nullptr;
        core.budget = nullptr;
        core.reschedule = true;
    } else if (c.state == ContextState::ready) {
        core.ready.remove(*c.on);
    }
}

void set_deadline(Context& c, std::uint64_t at) {
    Core& core = *c.core;
    if (c.deadline.is_linked()) c.deadline.unlink();
    c.deadline.at = at;
    if (at != no_deadline) {
        c.deadline.context = &c;
        core.deadlines.insert(c.deadline);
    }
    arm(core);
}

void serve_timer() {
    Core& core = Core::here();
    core.armed_for = no_deadline;
    const std::uint64_t now = cpu::rdtsc();
    while (!core.deadlines.empty() && core.deadlines.begin()->at <= now) {
        Context& c = *core.deadlines.begin()->context;
        c.deadline.unlink();
        if (c.is_thread()) {
            if (c.waits_for != nullptr) {
                c.waits_for->leave();
                c.waits_for = nullptr;
            }
            static_cast<Thread&>(c).set_status(Status::timed_out);
            make_ready(c);
        } else {
            static_cast<Vcpu&>(c).notify(attention::deadline);
        }
    }
    if (now >= core.quantum_end && core.current != nullptr) {
        core.quantum_end = no_deadline;
        if (core.ready.has(core.budget->priority)) preempt(core, true);
        core.reschedule = true;
    }
    arm(core);
}

void yield() {
    Core& core = Core::here();
    if (core.ready.has(core.budget->priority)) {
        preempt(core, true);
        core.reschedule = true;
    }
}

void leave() {
    Core& core = Core::here();
    for (;;) {
        core.serve_work();
        epoch::pass();
        if (core.reschedule || core.current == nullptr) pick(core);
        Context* c = core.current;
        if (c == nullptr) {
            // Nothing runs: no Domain's tables need to be loaded, so that Domains can go away.
            measure::left(core.id);
            cpu::wait_for_interrupt();
            measure::entered(core.id);
            continue;
        }
        if (c->is_thread()) enter_thread(core, static_cast<Thread&>(*c));
        auto& v = static_cast<Vcpu&>(*c);
        if (v.attention != 0 && !v.serve_attention()) continue;
        changes_guest(core, v);
        backend::enter(core, v);
    }
}

}  // namespace margay::scheduler
