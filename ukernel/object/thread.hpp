// Thread: a native execution context, bound to a core.
#pragma once
#include "support/result.hpp"
#include "ukernel/object/portal.hpp"
#include "ukernel/sched/context.hpp"

namespace margay {

struct Domain;

struct InDomainTag;

struct Thread : Context, bi::list_base_hook<bi::tag<InDomainTag>, bi::link_mode<bi::auto_unlink>> {
    using DomainHook = bi::list_base_hook<bi::tag<InDomainTag>, bi::link_mode<bi::auto_unlink>>;
    using DomainList = bi::list<Thread, bi::base_hook<DomainHook>, bi::constant_time_size<false>>;

    Domain* domain = nullptr;
    Portal::BoundList portals;    // bound to this handler
    Portal::PendingList pending;  // of those, the ones with callers waiting
    Slot receive_slot = no_slot;
    // Of the fault that killed it.
    std::uint64_t fault_vector = 0, fault_error = 0, fault_address = 0;

    Thread(Domain& in, Core& on, unsigned priority, std::uint64_t entry, std::uint64_t stack,
           std::uint64_t argument);
    void destroy();

    // Status for the system call that it will return from.
    void set_status(Status s) { gpr[gpr_rax] = static_cast<std::uint64_t>(s); }
    // It will never run again: callers are released, portals become unbound, the death is signalled.
    void die();
    // Takes the first queued caller of its portals and becomes ready with that message.
    void accept_queued();
};

// When a context ends: a handler that serves it goes on without a caller, on a budget of its own.
void release_servant(Context& context);

}  // namespace margay
