#include "ukernel/object/portal.hpp"

#include "ukernel/core/core.hpp"
#include "ukernel/debug/assert.hpp"
#include "ukernel/object/thread.hpp"
#include "ukernel/object/transfer.hpp"
#include "ukernel/sched/scheduler.hpp"

namespace margay {

namespace {

ContextFields nobody;

void end_portal_binding(Binding& b) {
    auto& portal = *static_cast<Portal*>(b.owner);
    run_on(*portal.core, [&portal] { portal.unbind(); });
}

}  // namespace

PortalFields Portal::nowhere{&nobody, nullptr};

Portal::Portal(Core& on) : PortalFields{&nobody, &on}, binding{end_portal_binding, this} {}

void Portal::enqueue(Context& caller, const CapSlot* through, std::uint64_t badge) {
    caller.queued_on = this;
    caller.queued_badge = badge;
    caller.through = through;
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

Status Portal::bind(Thread& thread) {
    if (thread.state == ContextState::dead) return Status::dead_partner;
    if (handler != nullptr) unbind();
    handler = &thread;
    entry = &thread;
    thread.portals.push_back(*this);
    update_pending();
    // It may be waiting already: then it takes a queued caller now.
    if (thread.callers_wait != 0 && thread.open_on != nullptr) {
        if (brings_capability(thread.next_caller()))
            thread.ask_again();
        else
            thread.accept_queued();
    }
    return Status::ok;
}

void Portal::unbind() {
    if (handler == nullptr) return;
    if (PendingHook::is_linked()) PendingHook::unlink();
    if (BoundHook::is_linked()) BoundHook::unlink();
    handler->callers_wait = handler->pending.empty() ? 0 : 1;
    handler = nullptr;
    entry = &nobody;
    for (auto at = queue.begin(); at != queue.end();) (at++)->portal_unbound();
}

void Portal::evict(const CapSlot& slot) {
    run_on(*core, [this, &slot] {
        for (auto at = queue.begin(); at != queue.end();) {
            Context& c = *at++;
            if (c.through != &slot) continue;
            queue.erase(queue.iterator_to(c));
            c.queued_on = nullptr;
            static_cast<Thread&>(c).set_status(Status::bad_capability);
            scheduler::make_ready(c);
        }
        update_pending();
    });
}

void Portal::destroy() {
    run_on(*core, [this] {
        unbind();
        MARGAY_EXPECT(queue.empty());
    });
}

}  // namespace margay
