#include "ukernel/sched/scheduler.hpp"

#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/core/epoch.hpp"
#include "ukernel/core/feature.hpp"
#include "ukernel/core/measure.hpp"
#include "ukernel/debug/assert.hpp"

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
        core.quantum_end = core.budget->turn_end != 0
                               ? core.budget->turn_end
                               : cpu::rdtsc() + features().tsc_khz * quantum_ms;
    if (core.budget != nullptr) core.budget->turn_end = 0;
    arm(core);
}

void preempt(Core& core, bool to_tail) {
    Context& c = *core.current;
    c.on = core.budget;
    core.budget->resume = &c;
    if (to_tail) {
        core.ready.push_back(*core.budget);
    } else {
        // It goes on with this turn: else who is interrupted often would never come to the end of one.
        if (core.quantum_end != no_deadline) core.budget->turn_end = core.quantum_end;
        core.ready.push_front(*core.budget);
    }
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
    c.on->turn_end = 0;
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
    c.withdraw();
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
        c.deadline_passed();
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
        c->enter(core);
    }
}

}  // namespace margay::scheduler
