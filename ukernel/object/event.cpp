#include "ukernel/object/event.hpp"

#include "ukernel/core/core.hpp"
#include "ukernel/object/irq.hpp"
#include "ukernel/object/thread.hpp"
#include "ukernel/object/vcpu.hpp"
#include "ukernel/sched/scheduler.hpp"

namespace margay {

// Ordering: signal() sets bits, then reads waiter; wait sets waiter, then reads bits. Both are
// sequentially consistent, so one of the two sees the other.
void Event::signal(std::uint64_t set) {
    bits.fetch_or(set);
    Context* w = waiter.load();
    if (w == nullptr) return;
    if (w->core == &Core::here()) {
        deliver();
        return;
    }
    if (posted.exchange(true)) return;
    Core& target = *w->core;
    next = target.mailbox.load();
    while (!target.mailbox.compare_exchange_weak(next, this)) {}
    target.kick();
}

void Event::deliver() {
    Context* w = waiter.load();
    // Stale: it stopped waiting, or waits elsewhere now.
    if (w == nullptr) return;
    if (w->core != &Core::here()) return;
    if (!w->is_thread()) {
        if (bits.load() != 0) static_cast<Vcpu*>(w)->notify(attention::recall);
        return;
    }
    const std::uint64_t taken = take();
    if (taken == 0) return;
    waiter.store(nullptr);
    auto& t = static_cast<Thread&>(*w);
    t.waits_for = nullptr;
    t.set_status(Status::ok);
    t.gpr[gpr_rdi] = taken;
    scheduler::make_ready(t);
}

// On the waiter's core.
void Event::evict() {
    Context* waiting = waiter.load();
    if (waiting == nullptr || waiting->core != &Core::here()) return;
    waiter.store(nullptr);
    if (waiting->is_thread()) {
        waiting->waits_for = nullptr;
        static_cast<Thread*>(waiting)->set_status(Status::bad_capability);
        scheduler::make_ready(*waiting);
    } else {
        static_cast<Vcpu*>(waiting)->event = nullptr;
    }
}

void Event::destroy() {
    Irq::forget(*this);
    // Two rounds over all cores. After the first nobody starts to wait for it or to signal it: the
    // capabilities are gone, and every core has left the kernel since. A signal that was under way can
    // still have posted it to a core that had been passed; the second round takes it from there.
    for (unsigned round = 0; round < 2; ++round) {
        for (unsigned i = 0; i < Core::count(); ++i) {
            Core& core = *Core::by_id(i);
            if (!core.online) continue;
            run_on(core, [&core, this] {
                // Death events: whoever would signal this one must not.
                for (Context& c : core.contexts)
                    if (c.death_event == this) c.death_event = nullptr;
                core.serve_others();
                evict();
            });
        }
    }
}

}  // namespace margay
