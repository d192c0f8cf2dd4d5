// Thread: a native execution context, bound to a core.
#pragma once
#include "proto/exception.hpp"
#include "support/result.hpp"
#include "ukernel/core/context.hpp"
#include "ukernel/object/portal.hpp"

namespace margay {

struct Domain;

struct InDomainTag;

constexpr std::uint64_t syscall_length = 2;  // of the SYSCALL instruction

struct Thread : Context, bi::list_base_hook<bi::tag<InDomainTag>, bi::link_mode<bi::auto_unlink>> {
    using DomainHook = bi::list_base_hook<bi::tag<InDomainTag>, bi::link_mode<bi::auto_unlink>>;
    using DomainList = bi::list<Thread, bi::base_hook<DomainHook>, bi::constant_time_size<false>>;

    Domain* domain = nullptr;     // null once that ends; changed on this core only
    Portal::BoundList portals;    // bound to this handler
    Portal::PendingList pending;  // of those, the ones with callers waiting
    Slot receive_slot = no_slot;
    // Of the fault that killed it.
    std::uint64_t fault_vector = no_fault, fault_error = 0, fault_address = 0;
    // A revocation, which is made in steps, that was begun: the slot it is about, and what was in it.
    struct Restart {
        bool under_way = false;
        Slot slot = no_slot;
        std::uint16_t serial = 0;
        Estate also = 0;  // the next step needs this one's lock as well
    } restart;

    Thread(Domain& in, Core& on, unsigned priority, std::uint64_t entry, std::uint64_t stack,
           std::uint64_t argument);
    void destroy();

    // Status for the system call that it will return from.
    void set_status(Status s) { gpr[gpr_rax] = static_cast<std::uint64_t>(s); }
    // It makes its system call again when it runs next; RAX must still say which.
    void repeat_call() { rip -= syscall_length; }
    // It does not after all.
    void go_on() { rip += syscall_length; }
    // It will never run again: callers are released, portals become unbound, the death is signalled.
    void die();
    // Of the callers that wait at its portals, the one that is taken next. There must be one.
    Context& next_caller();
    // Takes it and becomes ready with its message. If that brings a capability, the lock is held.
    void accept_queued();
    // It accepts, but the next caller brings a capability: it makes its reply_wait again, for that one.
    void ask_again();
};

// The context ends. It is taken out of what it waits in or runs on; who serves it goes on without a caller
// and on a budget of its own. Whom it serves has its budget back, to be released by the caller of this.
void sever(Context& context);

}  // namespace margay
