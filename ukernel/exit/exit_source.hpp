// ExitSource: a context whose exits are messages to handlers. It numbers and records them, keeps the one that
// waits for its reply, and goes on as the reply says. A vCPU is one; another kind has the same table and
// provides what stands under "by its kind".
#pragma once
#include <cstddef>

#include "proto/exit.hpp"
#include "proto/vcpu_state.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/core/context.hpp"
#include "ukernel/exit/exit_counters.hpp"
#include "ukernel/exit/exit_row.hpp"

namespace margay {

// Why it may not simply go on.
namespace attention {
constexpr std::uint32_t recall = 1;     // a recall is to be delivered
constexpr std::uint32_t deadline = 2;   // its deadline has passed
constexpr std::uint32_t suspended = 4;  // stay out
}  // namespace attention

// What has become of the exit that waits for its reply.
namespace delivery {
constexpr std::uint32_t pending = 1;    // there is one
constexpr std::uint32_t forwarded = 2;  // it goes to the base, whatever policy there is
constexpr std::uint32_t seen = 4;       // a handler had it already
constexpr std::uint32_t left =
    8;  // a policy has it that was unbound meanwhile: it may still forward it
}  // namespace delivery

// The exit that waits for its reply.
struct PendingExit {
    ExitClass exit_class;
    std::uint64_t detail0, detail1;
    std::uint64_t next_rip;  // 0: unknown
    std::uint64_t flags;     // exit_flag::length_assumed
};

struct ExitSource : Context {
    VcpuState* page = nullptr;
    Binding page_binding;    // below the extent that is its state page
    Event* event = nullptr;  // signals arrive as recall
    Binding event_binding;   // below the Event's capability
    std::uint64_t sequence = 0;
    PendingExit pending{};
    std::uint32_t delivery = 0;  // of the pending exit, see delivery
    std::uint32_t attention = 0;
    bool parks_again = false;  // it is to sleep on when what it was woken for is done
    Action after_reply = Action::resume;
    const ExitTarget* sent_to = nullptr;
    ExitCounters counters;
    ExitRow rows[exit_classes];

    ExitSource();

    bool has_pending() const { return (delivery & delivery::pending) != 0; }
    // Numbers a new exit and writes it into the flight recorder. `delivery` is still to be set.
    void record(const PendingExit& exit, std::uint64_t rip) {
        pending = exit;
        ++sequence;
        ExitRecord& r = page->records[sequence % exit_records];
        r.sequence_class = sequence << 8 | static_cast<std::uint64_t>(exit.exit_class);
        r.rip = rip;
        r.detail0 = exit.detail0;
        r.detail1 = exit.detail1;
    }
    // Numbers, records and sends an exit that no instruction caused.
    void deliver(ExitClass exit_class, std::uint64_t detail0);
    // Hands the pending exit to its handler, or queues it at the portal. If this is the core's current
    // context, its budget goes along.
    void send();
    // The handler died or the portal was rebound with this exit pending.
    void send_again();
    // The handler's reply. Status for the handler; on `ok` it goes on as asked.
    Status reply(std::uint64_t action, std::uint64_t sequence, std::uint64_t dirty,
                 std::uint64_t rax, std::uint64_t vector, std::uint64_t deadline_at);
    // After an accepted reply, as the current context: does what the action asks.
    void go_on();
    // Serves attention before it goes on; true if it may.
    bool serve_attention();
    void notify(std::uint32_t why);
    // It will never go on; `why` null: as its handler wished.
    void stop(const char* why);

// offsetof of non-standard-layout types is well defined in g++ and clang++ for single inheritance.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"
    // An exit begins to wait for its reply, or has it; `delivery` has been changed already: for who looks from another core it
    // changes before the ticks do.
    [[gnu::always_inline]] void begin_wait([[maybe_unused]] ExitClass c) {
#ifndef MARGAY_WITHOUT_EXIT_COUNTERS
        constexpr unsigned at = offsetof(ExitSource, counters);
        cpu::count_and_take_tsc<at + offsetof(ExitCounters, exits),
                                at + offsetof(ExitCounters, ticks)>(this, static_cast<unsigned>(c),
                                                                    delivery, counters);
#endif
    }
    [[gnu::always_inline]] void end_wait() {
#ifndef MARGAY_WITHOUT_EXIT_COUNTERS
        cpu::add_tsc<offsetof(ExitSource, counters) + offsetof(ExitCounters, ticks)>(
            this, static_cast<unsigned>(pending.exit_class), delivery, counters);
#endif
    }
#pragma GCC diagnostic pop
    // It was the kernel's own affair.
    void count([[maybe_unused]] KernelExit e) {
#ifndef MARGAY_WITHOUT_EXIT_COUNTERS
        ++counters.by_kernel[static_cast<unsigned>(e)];
#endif
    }
    // Exits of the class so far. From any core, without disturbing its own.
    ExitsOfClass count(ExitClass c) const;
    // A glance at them. False: they were just changing; never on its core.
    bool glance(ExitClass c, ExitsOfClass& to) const;

    // On its core: exits of the row go to the portal from now on (null: nowhere), and an exit that waits
    // for it goes there.
    void set_target(ExitTarget& target, Portal* portal, std::uint64_t badge, std::uint64_t wanted);
    // On its core: signals of the event arrive as recall (null: of none). `in_use` if somebody waits for
    // it.
    Status set_event(Event* to);

    // By its kind.
    std::uint64_t instruction_pointer() const;
    // The message registers of the handler that takes the pending exit, and the state that it wants.
    void fill_message(Thread& handler, std::uint64_t badge);
    // The parts of a reply that were checked as such: state, RAX, interrupt, the instruction skipped.
    // Refuses with nothing changed.
    Status apply(std::uint64_t dirty, std::uint64_t rax, std::uint64_t vector, bool skip);
    void report_stop(const char* why) const;
};

}  // namespace margay
