// What Thread and Vcpu have in common: an execution state that a core can enter or that waits.
#pragma once
#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>
#include <cstdint>

#include "proto/vcpu_state.hpp"
#include "ukernel/object/node.hpp"
#include "ukernel/sched/budget.hpp"

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
struct OnCoreTag;

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
};

struct Context : ContextFields,
                 bi::list_base_hook<bi::tag<QueueTag>, bi::link_mode<bi::auto_unlink>>,
                 bi::list_base_hook<bi::tag<OnCoreTag>, bi::link_mode<bi::auto_unlink>> {
    using QueueHook = bi::list_base_hook<bi::tag<QueueTag>, bi::link_mode<bi::auto_unlink>>;
    using OnCoreHook = bi::list_base_hook<bi::tag<OnCoreTag>, bi::link_mode<bi::auto_unlink>>;
    using Queue = bi::list<Context, bi::base_hook<QueueHook>, bi::constant_time_size<false>>;
    using CoreList = bi::list<Context, bi::base_hook<OnCoreHook>, bi::constant_time_size<false>>;

    Core* core = nullptr;  // bound for life
    Budget own;            // its own budget
    Budget* on = nullptr;  // the budget it holds while it waits or is preempted
    Portal* queued_on = nullptr;
    std::uint64_t queued_badge = 0;
    Event* waits_for = nullptr;
    Deadline deadline;
    Event* death_event = nullptr;
    std::uint64_t death_bits = 0;

    bool is_thread() const { return kind == ContextKind::thread; }
};

}  // namespace margay
