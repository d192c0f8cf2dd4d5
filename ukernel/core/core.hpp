// Core: everything that belongs to one processor core. Reached through GS in the kernel.
#pragma once
#include <atomic>
#include <cstdint>

#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/arch/x86_64/instructions.hpp"
#include "ukernel/arch/x86_64/mitigation.hpp"
#include "ukernel/core/context.hpp"
#include "ukernel/core/run_queue.hpp"

namespace margay {

struct Irq;
struct Vcpu;

// Work for another core, done there between two pieces of its own.
struct RemoteWork {
    void (*run)(void*) = nullptr;
    void* argument = nullptr;
    std::atomic<bool> done{false};
    RemoteWork* next = nullptr;
};

// News for another core, which it takes out of its mailbox.
struct Mail {
    Mail* next = nullptr;
    void (*arrive)(Mail& mail) = nullptr;
};

struct CoreFields {
    // Known to assembler (arch/x86_64/offsets.hpp).
    Core* self;
    Context* current;   // null: nothing runs
    std::uint64_t cr3;  // of the loaded page tables
    std::uint64_t stack_top;
    std::uint64_t apic_poke;  // address written after each VM exit, see apic::poke_address()
    Vcpu* last_guest;         // entered since the core last changed Domains; kept with IBPB only
    BackendCore backend;
};

// Bounds what has to be walked: chains of calls, a portal's queue.
constexpr unsigned max_contexts_per_core = 4096;
// Interrupt messages of devices that it can take.
constexpr unsigned message_vectors = 64;
// Of these, the last ones are the only ones that messages made for other cores can have (IrqOp::move): who moves theirs here leaves
// room for whoever makes some here.
constexpr unsigned visiting_vectors = 16;

struct Core : CoreFields {
    unsigned id;
    unsigned apic_id;
    std::uint32_t node;       // NUMA
    std::uint64_t flags;      // core_flag
    std::int64_t tsc_offset;  // ticks against core 0's counter, as measured at start
    std::uint64_t tsc_error;  // at most; ~0: not measured
    bool online;
    bool virtualization;
    Budget* budget;  // what `current` runs on
    bool reschedule;
    RunQueue ready;
    std::atomic<unsigned> contexts;  // bound to it; at most max_contexts_per_core
    bi::multiset<
        Deadline,
        bi::base_hook<bi::set_base_hook<bi::tag<DeadlineTag>, bi::link_mode<bi::auto_unlink>>>,
        bi::constant_time_size<false>>
        deadlines;
    std::uint64_t quantum_end;  // TSC; no_deadline while nobody shares the priority
    std::uint64_t armed_for;    // what the timer is set to
    Vcpu* lazy_owner;
    std::uint64_t interrupts;        // taken by the kernel on this core
    std::uint64_t stray_interrupts;  // of those, the ones that nobody had asked for
    std::uint64_t device_messages;   // likewise, those that have signalled an Event
    std::uint64_t nmis, machine_checks;
    std::atomic<Mail*> mailbox;
    std::atomic<RemoteWork*> remote;
    std::atomic<std::uint64_t> epoch;         // passed last (core/epoch.hpp)
    std::atomic<std::uint64_t> flush_wanted;  // by a wait of that number
    std::atomic<std::uint64_t> flush_done;
    std::atomic<Irq*> messages[message_vectors];  // by vector, from apic::vector::first_message on

    // The core this code runs on.
    static Core& here() { return *cpu::this_core(); }
    static Core* by_id(std::uint64_t id);
    static unsigned count();

    // Does what other cores have posted. Called on the way out of the kernel and while waiting.
    void serve_work() {
        if (has_work()) [[unlikely]]
            do_work();
    }
    bool has_work() const {
        return flush_wanted.load(std::memory_order_acquire) !=
                   flush_done.load(std::memory_order_relaxed) ||
               remote.load(std::memory_order_relaxed) != nullptr ||
               mailbox.load(std::memory_order_relaxed) != nullptr;
    }
    void do_work();
    // Drops this core's translations of native address spaces. They are not global; guests are flushed by
    // their tables' generation on the next entry.
    static void flush_here();
    // Posts work and waits until it is done there; direct if it is this core.
    void run_here(void (*work)(void*), void* argument);
    // Wakes the core so that it looks at its mailboxes.
    void kick();
    // In each turn, from 1 on, of a wait for what it was kicked for. A kick can be lost where a virtual interrupt waits
    // at a guest's entry (docs/decisions/0015-lost-requests.md), and in a guest that spins with interrupts off nothing
    // comes after it.
    void remind(unsigned turn) {
        constexpr unsigned patience = 1 << 16;
        if (turn % patience == 0) kick();
    }
};

// The core goes on in another Domain: what the last one or a guest taught its predictors must not lead
// this one.
inline void changed_domain(Core& core) {
    if (!mitigations().ibpb) [[likely]]
        return;
    branch_barrier();
    core.last_guest = nullptr;
}
// It goes on with this guest, not by a reply of the guest's own VMM.
inline void changes_guest(Core& core, Vcpu& vcpu) {
    if (!mitigations().ibpb || core.last_guest == &vcpu) [[likely]]
        return;
    branch_barrier();
    core.last_guest = &vcpu;
}

// Runs f on the core and returns when it is done there. What this core has found stays pinned meanwhile,
// but other cores' work may be done here: what it is about to change must be looked at again.
template <typename F>
void run_on(Core& core, F f) {
    core.run_here([](void* argument) { (*static_cast<F*>(argument))(); }, &f);
}

}  // namespace margay
