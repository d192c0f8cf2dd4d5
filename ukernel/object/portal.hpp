// Portal: an IPC entry. Callers of an unbound or busy portal wait in its queue, highest priority first.
#pragma once
#include "ukernel/sched/context.hpp"

namespace margay {

struct Thread;
struct Portal;

// One row of a vCPU's exit table, resolved when it is bound.
struct ExitRow : bi::list_base_hook<bi::link_mode<bi::auto_unlink>> {
    Portal* portal = nullptr;
    std::uint64_t wanted = 0;
    std::uint64_t badge = 0;
};

struct BoundTag;
struct PendingTag;

struct PortalFields {
    Thread* handler = nullptr;  // first: known to assembler
};

struct Portal : PortalFields,
                bi::list_base_hook<bi::tag<BoundTag>, bi::link_mode<bi::auto_unlink>>,
                bi::list_base_hook<bi::tag<PendingTag>, bi::link_mode<bi::auto_unlink>> {
    using BoundHook = bi::list_base_hook<bi::tag<BoundTag>, bi::link_mode<bi::auto_unlink>>;
    using PendingHook = bi::list_base_hook<bi::tag<PendingTag>, bi::link_mode<bi::auto_unlink>>;
    using BoundList = bi::list<Portal, bi::base_hook<BoundHook>, bi::constant_time_size<false>>;
    using PendingList = bi::list<Portal, bi::base_hook<PendingHook>, bi::constant_time_size<false>>;

    Core* core = nullptr;
    Context::Queue queue;
    bi::list<ExitRow, bi::constant_time_size<false>> rows;  // exit-table rows that lead here

    explicit Portal(Core& on) : core{&on} {}
    void destroy();

    void bind(Thread& thread);
    void unbind();
    // Queues a caller by priority. It must not be ready.
    void enqueue(Context& caller, std::uint64_t badge);
    // After the queue or the handler changed: tells the handler whether callers wait.
    void update_pending();
};

}  // namespace margay
