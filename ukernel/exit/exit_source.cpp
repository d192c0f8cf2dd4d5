#include "ukernel/exit/exit_source.hpp"

#include <algorithm>

#include "ukernel/object/event.hpp"
#include "ukernel/object/thread.hpp"
#include "ukernel/sched/scheduler.hpp"

namespace margay {

namespace {

ExitSource& owner_of(Binding& b) { return *static_cast<ExitSource*>(b.owner); }

void end_target(Binding& b) {
    auto& target = *static_cast<ExitTarget*>(b.owner);
    ExitSource& source = *target.row->source;
    run_on(*source.core, [&] { source.set_target(target, nullptr, 0, 0); });
}
void end_event(Binding& b) {
    ExitSource& source = owner_of(b);
    run_on(*source.core, [&source] { (void)source.set_event(nullptr); });
}
// Without a state page it cannot go on.
void end_page(Binding& b) {
    ExitSource& source = owner_of(b);
    run_on(*source.core, [&source] {
        source.stop(nullptr);
        source.page = nullptr;
    });
}

}  // namespace

ExitTarget::ExitTarget() : binding{end_target, this} {}

ExitSource::ExitSource() : page_binding{end_page, this}, event_binding{end_event, this} {
    page_binding.uses_extent = true;
    for (ExitRow& row : rows) row.source = this;
}

void ExitSource::set_target(ExitTarget& target, Portal* portal, std::uint64_t badge,
                            std::uint64_t wanted) {
    ExitRow& row = *target.row;
    const bool waited_there = state == ContextState::queued && sent_to == &target;
    if (waited_there) {
        // It keeps its exit, which is sent again, now or when there is somewhere to, and its deadline.
        withdraw();
        state = ContextState::stopped;
    }
    const bool is_of_row =
        has_pending() && &row == &rows[static_cast<unsigned>(pending.exit_class)];
    if (is_of_row && portal == nullptr && state == ContextState::calling && row.active == &target &&
        &target == &row.policy && (delivery & delivery::forwarded) == 0)
        delivery |= delivery::left;
    // What the base has already is none of a policy's that comes now.
    const bool is_new = &target == &row.policy && portal != nullptr && !target.is_bound();
    if (is_of_row && is_new && (state == ContextState::calling || state == ContextState::queued))
        delivery |= delivery::forwarded;
    target.portal = portal != nullptr ? portal : &Portal::nowhere;
    target.wanted = wanted;
    target.badge = badge;
    row.active = row.policy.is_bound() ? &row.policy : &row.base;
    if (is_of_row && state == ContextState::stopped && row.active->is_bound()) send();
}

Status ExitSource::set_event(Event* to) {
    if (state == ContextState::dead) to = nullptr;
    if (to == nullptr && event == nullptr) return Status::ok;
    if (to != nullptr) {
        Waiter nobody;
        if (!to->waiter.compare_exchange_strong(nobody, Waiter{*this})) return Status::in_use;
    }
    if (event != nullptr) event->leave();
    event = to;
    if (to != nullptr) to->deliver();  // bits that were latched before
    return Status::ok;
}

void ExitSource::deliver(ExitClass exit_class, std::uint64_t detail0) {
    record({exit_class, detail0, 0, 0, 0}, instruction_pointer());
    delivery = delivery::pending;
    begin_wait(exit_class);
    send();
}

void ExitSource::send() {
    const ExitRow& row = rows[static_cast<unsigned>(pending.exit_class)];
    const ExitTarget* target = row.active;
    // A policy without a handler is none.
    if ((delivery & delivery::forwarded) != 0 ||
        (target == &row.policy && row.policy.bound_portal().handler == nullptr))
        target = &row.base;
    if (target == &row.base) {
        delivery &= ~delivery::left;
        if (row.policy.is_bound()) delivery |= delivery::forwarded;
    }
    if (!target->is_bound()) {
        stop((delivery & delivery::seen) != 0 ? "its exit has no handler any more"
                                              : "an exit that nobody handles");
        return;
    }
    sent_to = target;
    Portal& portal = target->bound_portal();
    Thread* handler = portal.handler;
    const bool running = core->current == this;
    if (handler == nullptr || handler->open_on != core) {
        if (running) scheduler::block_current(ContextState::queued);
        state = ContextState::queued;
        portal.enqueue(*this, nullptr, target->badge);
        return;
    }
    handler->caller = this;
    handler->open_on = nullptr;
    callee = handler;
    state = ContextState::calling;
    fill_message(*handler, target->badge);
    if (running) {
        handler->state = ContextState::ready;
        core->current = handler;  // on this one's budget
    } else {
        handler->on = on;
        scheduler::make_ready(*handler);
    }
}

void ExitSource::send_again() {
    state = ContextState::stopped;
    send();
}

Status ExitSource::reply(std::uint64_t action, std::uint64_t number, std::uint64_t dirty,
                         std::uint64_t rax, std::uint64_t vector, std::uint64_t deadline_at) {
    // Everything is checked before anything changes: a refused reply leaves the exit pending.
    if (number != sequence || !has_pending()) return Status::stale;
    if (action > static_cast<std::uint64_t>(Action::give_way) || (dirty & ~state::valid_reply) != 0)
        return Status::bad_argument;
    const auto act = static_cast<Action>(action);
    const bool skip =
        act == Action::advance || act == Action::park_advance || act == Action::give_way;
    if (skip && pending.next_rip == 0) return Status::bad_argument;
    if ((dirty & state::irq_word) != 0 && vector > no_vector) return Status::bad_argument;
    const Status s = apply(dirty, rax, vector, skip);
    if (s != Status::ok) return s;
    if ((dirty & state::deadline_word) != 0) {
        attention &= ~attention::deadline;
        scheduler::set_deadline(*this, deadline_at);
    }
    after_reply = act;
    if (act != Action::forward) {
        delivery = 0;
        end_wait();
    }
    return Status::ok;
}

void ExitSource::go_on() {
    state = ContextState::ready;
    switch (after_reply) {
    case Action::resume:
    case Action::advance: break;
    case Action::forward: {
        // The base has nobody to forward to.
        const ExitRow& row = rows[static_cast<unsigned>(pending.exit_class)];
        if ((delivery & delivery::forwarded) != 0 ||
            (row.active == &row.base && (delivery & delivery::left) == 0)) {
            stop("an exit that its handlers only forward");
            return;
        }
        delivery = delivery::pending | delivery::forwarded;
        send();
        break;
    }
    case Action::park:
    case Action::park_advance:
        if (attention == 0)
            scheduler::block_current(ContextState::parked);
        else
            parks_again = true;
        break;
    case Action::stop: stop(nullptr); break;
    case Action::give_way: scheduler::yield(); break;
    }
}

bool ExitSource::serve_attention() {
    if ((attention & attention::recall) != 0) {
        attention &= ~attention::recall;
        parks_again = false;
        deliver(ExitClass::recall, event != nullptr ? event->take() : 0);
        return false;
    }
    if ((attention & attention::deadline) != 0) {
        attention &= ~attention::deadline;
        parks_again = false;
        deliver(ExitClass::deadline, deadline.at);
        return false;
    }
    // Last: what the handler still has to learn, it learns before the guest stands still.
    if ((attention & attention::suspended) != 0) {
        scheduler::block_current(ContextState::stopped);
        return false;
    }
    return true;
}

void ExitSource::notify(std::uint32_t why) {
    attention |= why;
    if (state != ContextState::parked) return;
    parks_again = why == attention::suspended;
    scheduler::make_ready(*this);
}

// Who writes does it in this order: `sequence`, `delivery`, the lower half of the ticks, the upper one, with its sign.
// When `delivery` and the sign agree, and neither number nor `delivery` have changed meanwhile, both halves are of one value.
bool ExitSource::glance(ExitClass c, ExitsOfClass& to) const {
    const auto load = [](const auto& from) {
        auto v = from;
        __atomic_load(&from, &v, __ATOMIC_ACQUIRE);
        return v;
    };
    const unsigned i = static_cast<unsigned>(c);
    const std::uint64_t number = load(sequence);
    const bool waits = (load(delivery) & delivery::pending) != 0;
    const bool is_open = waits && load(pending.exit_class) == c;
    const std::uint32_t high = load(counters.ticks[i][1]), low = load(counters.ticks[i][0]);
    to.count = load(counters.exits[i]);
    if (is_open != (high >> 31 != 0) || waits != ((load(delivery) & delivery::pending) != 0) ||
        load(sequence) != number)
        return false;
    const auto ticks = static_cast<std::int64_t>(low | static_cast<std::uint64_t>(high) << 32);
    // Clocks of two cores may differ a little.
    to.ticks = is_open ? static_cast<std::uint64_t>(std::max<std::int64_t>(
                             ticks + static_cast<std::int64_t>(cpu::rdtsc()), 0))
                       : static_cast<std::uint64_t>(ticks);
    return true;
}

ExitsOfClass ExitSource::count(ExitClass c) const {
    constexpr unsigned tries = 64;
    ExitsOfClass found;
    for (unsigned n = 0; n < tries; ++n)
        if (glance(c, found)) return found;
    run_on(*core, [&] { (void)glance(c, found); });
    return found;
}

void ExitSource::stop(const char* why) {
    if (state == ContextState::dead) return;
    if (why != nullptr) report_stop(why);
    sever(*this);
    signal_death();
}

}  // namespace margay
