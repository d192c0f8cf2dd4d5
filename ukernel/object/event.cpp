#include "ukernel/object/event.hpp"

#include "ukernel/core/core.hpp"
#include "ukernel/object/thread.hpp"
#include "ukernel/object/vcpu.hpp"
#include "ukernel/sched/scheduler.hpp"

namespace margay {

Waiter::Waiter(Context& context)
    : word_{(reinterpret_cast<std::uint64_t>(&context) & 0xffff'ffff'ffff) |
            std::uint64_t{context.core->id + 1} << 48} {}

Core& Waiter::core() const { return *Core::by_id((word_ >> 48) - 1); }

// Ordering: signal() sets bits, then reads waiter; wait sets waiter, then reads bits. Both are
// sequentially consistent, so one of the two sees the other.
void Event::signal(std::uint64_t set) {
    bits.fetch_or(set);
    deliver();
}

void Event::deliver() {
    const Waiter w = waiter.load();
    if (!w) return;
    Core& core = w.core();
    if (&core != &Core::here()) {
        // Whoever takes it out of the mailbox that it is in already looks again.
        Core* nowhere = nullptr;
        if (!posted_to.compare_exchange_strong(nowhere, &core)) return;
        next = core.mailbox.load();
        while (!core.mailbox.compare_exchange_weak(next, this)) {}
        core.kick();
        return;
    }
    Context& context = w.context();
    if (!context.is_thread()) {
        if (bits.load() != 0) static_cast<Vcpu&>(context).notify(attention::recall);
        return;
    }
    const std::uint64_t taken = take();
    if (taken == 0) return;
    leave();
    auto& t = static_cast<Thread&>(context);
    t.waits_for = nullptr;
    t.set_status(Status::ok);
    t.gpr[gpr_rdi] = taken;
    scheduler::make_ready(t);
}

// Ordering: taken_out() says that it is in no mailbox, then reads waiter and bits; a signal that found it in
// one had set its bits before. A waiter that has moved to another core since is followed.
void Event::taken_out() {
    posted_to.store(nullptr);
    if (bits.load() != 0) deliver();
}

void Event::evict(const CapSlot& slot) {
    for (;;) {
        const Waiter w = waiter.load();
        if (!w) return;
        bool moved = false;
        run_on(w.core(), [this, &slot, &moved] {
            const Waiter now = waiter.load();
            if (!now) return;
            moved = &now.core() != &Core::here();
            if (moved || !now.context().is_thread() || now.context().through != &slot) return;
            leave();
            auto& t = static_cast<Thread&>(now.context());
            t.waits_for = nullptr;
            t.set_status(Status::bad_capability);
            scheduler::make_ready(t);
        });
        if (!moved) return;
    }
}

// Nobody waits or signals any more. What was posted before is still to be taken out.
void Event::destroy() {
    while (Core* core = posted_to.load()) run_on(*core, [] { Core::here().serve_work(); });
}

}  // namespace margay
