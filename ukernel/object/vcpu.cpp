#include "ukernel/object/vcpu.hpp"

#include <new>

#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/debug/report.hpp"
#include "ukernel/object/event.hpp"
#include "ukernel/object/space.hpp"
#include "ukernel/object/thread.hpp"
#include "ukernel/sched/scheduler.hpp"

namespace margay {

namespace {

Vcpu& owner_of(Binding& b) { return *static_cast<Vcpu*>(b.owner); }

void end_row(Binding& b) {
    auto& row = *static_cast<ExitRow*>(b.owner);
    run_on(*row.vcpu->core, [&row] { row.vcpu->set_row(row, nullptr, 0, 0); });
}
void end_event(Binding& b) {
    Vcpu& v = owner_of(b);
    run_on(*v.core, [&v] { (void)v.set_event(nullptr); });
}
// A vCPU without a state page cannot go on.
void end_page(Binding& b) {
    Vcpu& v = owner_of(b);
    run_on(*v.core, [&v] {
        v.stop(nullptr);
        v.page = nullptr;
    });
}

}  // namespace

ExitRow::ExitRow() : binding{end_row, this} {}

Vcpu::Vcpu() : page_binding{end_page, this}, event_binding{end_event, this} {
    page_binding.uses_extent = true;
    for (ExitRow& row : rows) row.vcpu = this;
}

Result<Vcpu*> Vcpu::create(HostPhys base, std::uint64_t size, Space& in, Core& on_core,
                           unsigned priority, HostPhys state_page) {
    static_assert(sizeof(Vcpu) + GuestContext::storage_bytes <= storage_vcpu);
    if (size < storage_vcpu) return Status::no_memory;
    if (!on_core.virtualization) return Status::not_supported;
    auto* v = new (direct<void>(base)) Vcpu;
    v->kind = ContextKind::vcpu;
    v->core = &on_core;
    v->page = direct<VcpuState>(state_page);
    v->space = &in;
    v->own.owner = v;
    v->own.priority = static_cast<std::uint8_t>(priority);
    v->on = &v->own;
    in.cores.add(on_core.id);
    fpu::init(v->fpu);
    backend::init(*v, base + (storage_vcpu - GuestContext::storage_bytes));
    const SpinGuard lock{in.guard};
    in.vcpus.push_back(*v);
    return v;
}

void Vcpu::destroy() {
    run_on(*core, [this] {
        if (state != ContextState::dead) sever(*this);
        backend::forget(*this);
        if (Space* in = space) {
            const SpinGuard lock{in->guard};
            SpaceHook::unlink();
            space = nullptr;
        }
    });
    core->contexts.fetch_sub(1);
}

void Vcpu::set_row(ExitRow& row, Portal* portal, std::uint64_t badge, std::uint64_t wanted) {
    if (state == ContextState::queued && sent_to == &row) {
        // It keeps its exit; that is sent again when the row is bound again.
        scheduler::detach(*this);
        state = ContextState::stopped;
    }
    row.portal = portal;
    row.wanted = wanted;
    row.badge = badge;
    if (portal == nullptr) return;
    // Other rows may be bound before the one that the exit waits for.
    const bool waits_for_it = &row == &rows[static_cast<unsigned>(pending.exit_class)] ||
                              &row == &rows[static_cast<unsigned>(default_row)];
    if (has_pending() && state == ContextState::stopped && waits_for_it) send();
}

Status Vcpu::set_event(Event* to) {
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

void Vcpu::deliver(ExitClass exit_class, std::uint64_t detail0, std::uint64_t detail1,
                   std::uint64_t next_rip) {
    record(exit_class, detail0, detail1, next_rip);
    send();
}

void Vcpu::send() {
    ExitRow* row = &rows[static_cast<unsigned>(pending.exit_class)];
    if ((delivery & delivery::forwarded) != 0 || row->portal == nullptr)
        row = &rows[static_cast<unsigned>(default_row)];
    if (row->portal == nullptr) {
        stop((delivery & delivery::seen) != 0 ? "its exit has no handler any more"
                                              : "an exit that nobody handles");
        return;
    }
    sent_to = row;
    Thread* handler = row->portal->handler;
    const bool running = core->current == this;
    if (handler == nullptr || handler->open_on != core) {
        if (running) scheduler::block_current(ContextState::queued);
        state = ContextState::queued;
        row->portal->enqueue(*this, nullptr, row->badge);
        return;
    }
    handler->caller = this;
    handler->open_on = nullptr;
    callee = handler;
    state = ContextState::calling;
    fill_message(*handler, row->badge);
    if (running) {
        handler->state = ContextState::ready;
        core->current = handler;  // on the vCPU's budget
    } else {
        handler->on = on;
        scheduler::make_ready(*handler);
    }
}

void Vcpu::fill_message(Thread& handler, std::uint64_t badge) {
    if (sent_to->wanted != 0) backend::store_state(*this, sent_to->wanted);
    const std::uint64_t flags = message_flags();
    delivery |= delivery::seen;
    handler.gpr[gpr_rax] = static_cast<std::uint64_t>(Status::ok);
    handler.gpr[gpr_rdi] = badge;
    handler.gpr[gpr_rsi] = static_cast<std::uint64_t>(pending.exit_class) | flags << 8;
    handler.gpr[gpr_rdx] = sequence;
    handler.gpr[gpr_r8] = guest.rip();
    handler.gpr[gpr_r9] = pending.detail0;
    handler.gpr[gpr_r10] = pending.detail1;
    handler.gpr[gpr_r12] = guest.rax();
    handler.gpr[gpr_r13] = guest.rflags();
    handler.full_frame = 0;
}

Status Vcpu::reply(std::uint64_t action, std::uint64_t number, std::uint64_t dirty,
                   std::uint64_t rax, std::uint64_t vector, std::uint64_t deadline_at) {
    // Everything is checked before anything changes: a refused reply leaves the exit pending.
    if (number != sequence || !has_pending()) return Status::stale;
    if (action > static_cast<std::uint64_t>(Action::stop) || (dirty & ~state::valid_reply) != 0)
        return Status::bad_argument;
    const auto act = static_cast<Action>(action);
    const bool skip = act == Action::advance || act == Action::park_advance;
    if (skip && pending.next_rip == 0) return Status::bad_argument;
    if ((dirty & state::irq_word) != 0 && vector > no_vector) return Status::bad_argument;
    if ((dirty & state::valid_groups) != 0) {
        const Status s = backend::load_state(*this, dirty);
        if (s != Status::ok) return s;
    }
    if ((dirty & state::rax_word) != 0) guest.set_rax(rax);
    if ((dirty & state::irq_word) != 0) backend::set_interrupt(*this, vector);
    if ((dirty & state::deadline_word) != 0) {
        attention &= ~attention::deadline;
        scheduler::set_deadline(*this, deadline_at);
    }
    if (skip) guest.advance(pending.next_rip);
    after_reply = act;
    if (act != Action::forward) delivery = 0;
    return Status::ok;
}

void Vcpu::go_on() {
    state = ContextState::ready;
    switch (after_reply) {
    case Action::resume:
    case Action::advance: break;
    case Action::forward:
        if ((delivery & delivery::forwarded) != 0) {
            stop("an exit that its handlers only forward");
            return;
        }
        delivery = delivery::pending | delivery::forwarded;
        send();
        break;
    case Action::park:
    case Action::park_advance:
        if (attention == 0)
            scheduler::block_current(ContextState::parked);
        else
            parks_again = true;
        break;
    case Action::stop: stop(nullptr); break;
    }
}

bool Vcpu::serve_attention() {
    if ((attention & attention::recall) != 0) {
        attention &= ~attention::recall;
        parks_again = false;
        deliver(ExitClass::recall, event != nullptr ? event->take() : 0, 0, 0);
        return false;
    }
    if ((attention & attention::deadline) != 0) {
        attention &= ~attention::deadline;
        parks_again = false;
        deliver(ExitClass::deadline, deadline.at, 0, 0);
        return false;
    }
    // Last: what the handler still has to learn, it learns before the guest stands still.
    if ((attention & attention::suspended) != 0) {
        scheduler::block_current(ContextState::stopped);
        return false;
    }
    return true;
}

void Vcpu::notify(std::uint32_t why) {
    attention |= why;
    if (state != ContextState::parked) return;
    parks_again = why == attention::suspended;
    scheduler::make_ready(*this);
}

void Vcpu::send_again() {
    state = ContextState::stopped;
    send();
}

void Vcpu::stop(const char* why) {
    if (state == ContextState::dead) return;
    if (why != nullptr) report_guest_failure(*this, why);
    sever(*this);
    signal_death();
}

}  // namespace margay
