// Vcpu: a guest execution context, bound to a core, with an exit table and a state page.
#pragma once
#include "proto/exit.hpp"
#include "support/address.hpp"
#include "support/result.hpp"
#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/arch/x86_64/fpu.hpp"
#include "ukernel/core/context.hpp"
#include "ukernel/object/portal.hpp"

namespace margay {

struct Space;

// Why a vCPU may not simply be entered.
namespace attention {
constexpr std::uint32_t recall = 1;     // a recall is to be delivered
constexpr std::uint32_t deadline = 2;   // its deadline has passed
constexpr std::uint32_t suspended = 4;  // stay out of the guest
constexpr std::uint32_t step = 8;       // leave an interrupt shadow by one single step
}  // namespace attention

// What has become of the exit that waits for its reply.
namespace delivery {
constexpr std::uint32_t pending = 1;    // there is one
constexpr std::uint32_t forwarded = 2;  // it went to the default row
constexpr std::uint32_t seen = 4;       // a handler had it already
}  // namespace delivery

// The exit that waits for its reply.
struct PendingExit {
    ExitClass exit_class;
    std::uint64_t detail0, detail1;
    std::uint64_t next_rip;  // 0: unknown
    std::uint64_t flags;     // exit_flag::length_assumed
};

struct Vcpu;

// One row of a vCPU's exit table, resolved when it is bound.
struct alignas(64) ExitRow {
    Portal* portal = nullptr;
    std::uint64_t wanted = 0;
    std::uint64_t badge = 0;
    Binding binding;  // below the portal's capability

    ExitRow();
    Vcpu* vcpu = nullptr;
};

struct InSpaceTag;

struct Vcpu : Context, bi::list_base_hook<bi::tag<InSpaceTag>, bi::link_mode<bi::auto_unlink>> {
    using SpaceHook = bi::list_base_hook<bi::tag<InSpaceTag>, bi::link_mode<bi::auto_unlink>>;
    using SpaceList = bi::list<Vcpu, bi::base_hook<SpaceHook>, bi::constant_time_size<false>>;

    // gpr[] of Context holds the guest's general registers, but for those that the back end keeps.
    GuestContext guest;  // first: known to assembler
    VcpuState* page = nullptr;
    Binding page_binding;    // below the extent that is its state page
    Space* space = nullptr;  // null once that ends; changed on this core only
    Event* event = nullptr;  // signals arrive as recall
    Binding event_binding;   // below the Event's capability
    std::uint64_t sequence = 0;
    PendingExit pending{};
    std::uint32_t delivery = 0;  // of the pending exit, see delivery
    std::uint32_t attention = 0;
    bool parks_again = false;  // it is to sleep on when what it was woken for is done
    Action after_reply = Action::resume;
    const ExitRow* sent_to = nullptr;
    ExitRow rows[exit_classes];
    FpuState fpu;

    Vcpu();
    static Result<Vcpu*> create(HostPhys base, std::uint64_t size, Space& space, Core& core,
                                unsigned priority, HostPhys state_page);
    void destroy();

    // A new exit: numbers it, records it and sends it. next_rip 0: unknown.
    void deliver(ExitClass exit_class, std::uint64_t detail0, std::uint64_t detail1,
                 std::uint64_t next_rip);
    // Hands the pending exit to its row's handler, or queues it at the portal. If this vCPU is the
    // core's current context, its budget goes along.
    void send();
    // Fills the message registers of the handler that takes the pending exit.
    void fill_message(Thread& handler, std::uint64_t badge);
    // Flags of the exit message.
    std::uint64_t message_flags() const {
        return guest.exit_flags() | pending.flags |
               ((delivery & delivery::seen) != 0 ? exit_flag::replayed : 0);
    }
    bool has_pending() const { return (delivery & delivery::pending) != 0; }
    // Numbers a new exit and writes it into the flight recorder.
    void record(ExitClass exit_class, std::uint64_t detail0, std::uint64_t detail1,
                std::uint64_t next_rip, std::uint64_t flags = 0) {
        pending = PendingExit{exit_class, detail0, detail1, next_rip, flags};
        delivery = delivery::pending;
        ++sequence;
        ExitRecord& r = page->records[sequence % exit_records];
        r.sequence_class = sequence << 8 | static_cast<std::uint64_t>(exit_class);
        r.rip = guest.rip();
        r.detail0 = detail0;
        r.detail1 = detail1;
    }
    // The handler's reply. Status for the handler; on `ok` the vCPU goes on as asked.
    Status reply(std::uint64_t action, std::uint64_t sequence, std::uint64_t dirty,
                 std::uint64_t rax, std::uint64_t vector, std::uint64_t deadline_at);
    // After an accepted reply, with this vCPU current: does what the action asks.
    void go_on();
    // Serves attention before the guest is entered; true if the guest may be entered.
    bool serve_attention();
    void notify(std::uint32_t why);
    // The handler died or the portal was rebound with this exit pending.
    void send_again();
    // It will never be entered again; `why` null: as its handler wished.
    void stop(const char* why);
    // On its core: a row leads to the portal from now on (null: nowhere), and an exit that waits for it
    // goes there.
    void set_row(ExitRow& row, Portal* portal, std::uint64_t badge, std::uint64_t wanted);
    // On its core: signals of the event arrive as recall (null: of none). `in_use` if somebody waits for it.
    Status set_event(Event* to);
};

}  // namespace margay
