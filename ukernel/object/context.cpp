// What contexts of either kind do of their own accord.
#include "ukernel/core/context.hpp"

#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/enter.hpp"
#include "ukernel/core/measure.hpp"
#include "ukernel/object/event.hpp"
#include "ukernel/object/portal.hpp"
#include "ukernel/object/thread.hpp"
#include "ukernel/object/vcpu.hpp"
#include "ukernel/sched/scheduler.hpp"

namespace margay {

void Context::signal_death() {
    if (death_event != nullptr) death_event->signal(death_bits);
}

void Context::end_death(Binding& b) {
    auto& context = *static_cast<Context*>(b.owner);
    run_on(*context.core, [&context] { context.set_death_event(nullptr, 0); });
}

void Context::withdraw() {
    if (waits_for != nullptr) {
        waits_for->leave();
        waits_for = nullptr;
    }
    if (queued_on != nullptr) {
        Portal& p = *queued_on;
        QueueHook::unlink();
        queued_on = nullptr;
        p.update_pending();
    }
}

// Exits do not wait for a policy that is gone: they have a base.
void Context::portal_unbound() {
    if (is_thread()) return;
    auto& source = static_cast<ExitSource&>(*this);
    if (source.sent_to != &source.sent_to->row->policy) return;
    withdraw();
    source.send_again();
}

void Context::deadline_passed() {
    if (is_thread()) {
        withdraw();
        static_cast<Thread*>(this)->set_status(Status::timed_out);
        scheduler::make_ready(*this);
    } else {
        static_cast<Vcpu*>(this)->notify(attention::deadline);
    }
}

namespace {

[[noreturn]] void enter_thread(Core& core, Thread& t) {
    measure::left(core.id);
    if (t.cr3 != core.cr3) {
        core.cr3 = t.cr3;
        cpu::write_cr3(t.cr3);
        changed_domain(core);
    }
    if (t.full_frame != 0) {
        t.full_frame = 0;
        enter_thread_full(&t);
    }
    enter_thread_result(&t);
}

}  // namespace

void Context::enter(Core& core_) {
    if (is_thread()) enter_thread(core_, static_cast<Thread&>(*this));
    auto& v = static_cast<Vcpu&>(*this);
    if (v.attention != 0 && !v.serve_attention()) return;
    changes_guest(core_, v);
    backend::enter(core_, v);
}

}  // namespace margay
