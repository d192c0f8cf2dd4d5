#include "ukernel/object/portal.hpp"

#include "ukernel/debug/assert.hpp"
#include "ukernel/object/thread.hpp"
#include "ukernel/object/vcpu.hpp"
#include "ukernel/sched/scheduler.hpp"

namespace margay {

void Portal::enqueue(Context& caller, std::uint64_t badge) {
    caller.queued_on = this;
    caller.queued_badge = badge;
    auto at = queue.begin();
    while (at != queue.end() && at->own.priority >= caller.own.priority) ++at;
    queue.insert(at, caller);
    update_pending();
}

void Portal::update_pending() {
    if (handler == nullptr) return;
    if (queue.empty()) {
        if (PendingHook::is_linked()) PendingHook::unlink();
    } else if (!PendingHook::is_linked()) {
        handler->pending.push_back(*this);
    }
    handler->callers_wait = handler->pending.empty() ? 0 : 1;
}

void Portal::bind(Thread& thread) {
    if (handler != nullptr) unbind();
    handler = &thread;
    thread.portals.push_back(*this);
    update_pending();
    // It may be waiting already: then it takes a queued caller now.
    if (thread.callers_wait != 0 && thread.open_on != nullptr) thread.accept_queued();
}

void Portal::unbind() {
    if (handler == nullptr) return;
    if (PendingHook::is_linked()) PendingHook::unlink();
    if (BoundHook::is_linked()) BoundHook::unlink();
    handler->callers_wait = handler->pending.empty() ? 0 : 1;
    handler = nullptr;
}

void Portal::destroy() {
    run_on(*core, [this] {
        unbind();
        while (!queue.empty()) {
            Context& c = queue.front();
            queue.pop_front();
            c.queued_on = nullptr;
            if (c.is_thread()) {
                static_cast<Thread&>(c).set_status(Status::bad_capability);
                scheduler::make_ready(c);
            } else {
                // The vCPU keeps its exit; it is sent again when its row is bound again.
                c.state = ContextState::stopped;
            }
        }
        while (!rows.empty()) {
            rows.front().portal = nullptr;
            rows.pop_front();
        }
    });
}

}  // namespace margay
