// What Thread and Vcpu have in common: an execution state that a core can enter or that waits.
#pragma once
#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>
#include <cstdint>

#include "proto/vcpu_state.hpp"
#include "ukernel/core/budget.hpp"
#include "ukernel/tree/node.hpp"

namespace margay {

struct Core;
struct Portal;
struct Event;

enum class ContextState : std::uint8_t {
    ready = 0,    // running, or its budget is in a run queue
    stopped,      // created or suspended
    calling = 2,  // waits for the reply of a handler
    queued,       // waits in a portal's queue
    accepting,    // a thread in reply_wait (open_on is set)
    waiting,      // waits for an Event
    parked,       // a vCPU that sleeps until an Event or its deadline
    dead,         // faulted, or its domain is gone
};
enum class ContextKind : std::uint8_t { thread = 0, vcpu = 1 };

struct QueueTag;
struct DeadlineTag;

// Waits for a time: ordered by it.
struct Deadline : bi::set_base_hook<bi::tag<DeadlineTag>, bi::link_mode<bi::auto_unlink>> {
    std::uint64_t at = no_deadline;  // TSC
    Context* context = nullptr;
    friend bool operator<(const Deadline& a, const Deadline& b) { return a.at < b.at; }
};

struct ContextFields {
    // Known to assembler (arch/x86_64/offsets.hpp).
    Context* caller = nullptr;  // whom a handler will reply to
    Core* open_on = nullptr;    // the core on which a handler accepts a call right now
    std::uint64_t cr3 = 0;
    CapSlot* slots = nullptr;
    std::uint32_t slot_count = 0;
    ContextState state = ContextState::stopped;
    ContextKind kind = ContextKind::thread;
    std::uint8_t callers_wait = 0;  // portals of this handler have queued callers
    std::uint8_t full_frame = 0;    // resume with every register (it was interrupted)
    std::uint64_t rip = 0;
    std::uint64_t rflags = 0x202;
    std::uint64_t gpr[16] = {};
    Context* callee = nullptr;  // who serves it; only while it is `calling`
};

// Budgets: a context without a caller runs, waits or is ready on its own. A call takes the budget along:
// the end of a chain of calls has the budget of the chain's beginning, and the others in it have none.
// So each budget has one holder at most, and which one follows from the links of callers (budget_of).
struct Context : ContextFields,
                 bi::list_base_hook<bi::tag<QueueTag>, bi::link_mode<bi::auto_unlink>> {
    using QueueHook = bi::list_base_hook<bi::tag<QueueTag>, bi::link_mode<bi::auto_unlink>>;
    using Queue = bi::list<Context, bi::base_hook<QueueHook>, bi::constant_time_size<false>>;

    Core* core = nullptr;  // bound for life
    Budget own;            // its own budget
    // The budget it holds while it waits or is ready and does not run. Without meaning while it runs,
    // calls, accepts or is dead.
    Budget* on = nullptr;
    Portal* queued_on = nullptr;
    std::uint64_t queued_badge = 0;
    Event* waits_for = nullptr;
    const CapSlot* through = nullptr;  // the capability by which a thread is queued or waits
    Deadline deadline;
    Event* death_event = nullptr;
    std::uint64_t death_bits = 0;
    bool dies_quietly = false;       // whoever is signalled reports it
    Binding death{end_death, this};  // below death_event's capability

    bool is_thread() const { return kind == ContextKind::thread; }
    // On its core: where its death is signalled from now on; null: nowhere.
    void set_death_event(Event* event, std::uint64_t bits, bool quiet = false) {
        death_event = event;
        death_bits = bits;
        dies_quietly = quiet;
    }
    void signal_death();

    // What a context does of its own accord, by its kind (object/context.cpp).
    // It waits for nothing any more: no Event, no portal.
    void withdraw();
    // The portal in whose queue it waits has no handler any more.
    void portal_unbound();
    // Its deadline has passed, and is in no list any more.
    void deadline_passed();
    // The core goes on with it. Comes back if there is something else to be done first.
    void enter(Core& core);

  private:
    static void end_death(Binding& b);
};

// The budget that carries the work of a context: that of the first caller in its chain.
inline Budget& budget_of(Context& context) {
    Context* first = &context;
    while (first->caller != nullptr) first = first->caller;
    return first->own;
}

}  // namespace margay
