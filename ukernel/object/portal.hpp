// Portal: an IPC entry. Callers of an unbound or busy portal wait in its queue, highest priority first.
#pragma once
#include "ukernel/core/context.hpp"

namespace margay {

struct Thread;

struct BoundTag;
struct PendingTag;

// Known to assembler. `entry` is the handler, or somebody who never accepts a call.
struct PortalFields {
    ContextFields* entry;
    Core* core;
};

struct Portal : PortalFields,
                bi::list_base_hook<bi::tag<BoundTag>, bi::link_mode<bi::auto_unlink>>,
                bi::list_base_hook<bi::tag<PendingTag>, bi::link_mode<bi::auto_unlink>> {
    using BoundHook = bi::list_base_hook<bi::tag<BoundTag>, bi::link_mode<bi::auto_unlink>>;
    using PendingHook = bi::list_base_hook<bi::tag<PendingTag>, bi::link_mode<bi::auto_unlink>>;
    using BoundList = bi::list<Portal, bi::base_hook<BoundHook>, bi::constant_time_size<false>>;
    using PendingList = bi::list<Portal, bi::base_hook<PendingHook>, bi::constant_time_size<false>>;

    Thread* handler = nullptr;
    Context::Queue queue;
    Binding binding;  // below the handler's capability

    // In the place of a portal where there is none: nobody there accepts a call.
    static PortalFields nowhere;

    explicit Portal(Core& on);
    // When nobody can find it any more: no row leads here, no thread waits here.
    void destroy();

    // All on its core.
    // `dead_partner` if the thread is dead: then nothing has changed.
    Status bind(Thread& thread);
    void unbind();
    // Queues a caller by priority. It must not be ready.
    void enqueue(Context& caller, const CapSlot* through, std::uint64_t badge);
    // After the queue or the handler changed: tells the handler whether callers wait.
    void update_pending();

    // A capability to it is gone: who waits through that one is sent away. From any core.
    void evict(const CapSlot& slot);
};

}  // namespace margay
