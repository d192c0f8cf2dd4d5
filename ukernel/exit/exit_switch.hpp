// The fast path of a VM exit: from the classified exit straight into the handler's user code, and
// from its reply back. Everything unusual goes through ExitSource::send and ExitSource::reply.
#pragma once
#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/enter.hpp"
#include "ukernel/core/measure.hpp"
#include "ukernel/object/thread.hpp"
#include "ukernel/object/vcpu.hpp"
#include "ukernel/sched/scheduler.hpp"

namespace margay {

// v is this core's current context and has just left the guest.
[[noreturn, gnu::always_inline]] inline void
exit_to_handler(Vcpu& v, ExitClass exit_class, std::uint64_t detail0, std::uint64_t detail1,
                std::uint64_t next_rip, std::uint64_t flags = 0) {
    Core& core = *v.core;
    v.record({exit_class, detail0, detail1, next_rip, flags}, v.guest.rip());
    const ExitTarget& target = *v.rows[static_cast<unsigned>(exit_class)].active;
    ContextFields* entry = target.portal->entry;
    if (entry->open_on != &core) [[unlikely]] {
        v.delivery = delivery::pending;
        v.begin_wait(exit_class);
        v.send();
        scheduler::leave();
    }
    auto* handler = static_cast<Thread*>(entry);
    // POINT OF NO RETURN
    // It is new: nobody has seen it.
    const std::uint64_t label =
        static_cast<std::uint64_t>(exit_class) | (v.guest.exit_flags() | flags) << 8;
    v.delivery = delivery::pending | delivery::seen;
    v.begin_wait(exit_class);
    v.state = ContextState::calling;
    v.callee = handler;
    handler->caller = &v;
    handler->open_on = nullptr;
    handler->state = ContextState::ready;
    core.current = handler;
    if (target.wanted != 0) backend::store_state(v, target.wanted);
    if (handler->cr3 != core.cr3) [[unlikely]] {
        core.cr3 = handler->cr3;
        cpu::write_cr3(handler->cr3);
        changed_domain(core);
    }
    measure::left(core.id);
    enter_thread_message(*handler, target.badge, label, v.sequence, v.guest.rip(), detail0, detail1,
                         v.guest.rax(), v.guest.rflags());
}

// The reply that most exits get: resume or skip, with nothing but RAX or the low registers changed.
// True: v is current and may be entered. False: nothing has changed, ExitSource::reply decides.
[[gnu::always_inline]] inline bool reply_simply(Core& core, Thread& handler, Vcpu& v,
                                                std::uint64_t action, std::uint64_t sequence,
                                                std::uint64_t dirty, std::uint64_t rax) {
    constexpr std::uint64_t simple = state::rax_word | state::gpr_low;
    const bool skip = action == static_cast<std::uint64_t>(Action::advance);
    if ((!skip && action != static_cast<std::uint64_t>(Action::resume)) || sequence != v.sequence ||
        !v.has_pending() || (dirty & ~simple) != 0 || dirty == simple ||
        (skip && v.pending.next_rip == 0))
        return false;
    // POINT OF NO RETURN
    if (skip)
        v.guest.advance(v.pending.next_rip);
    else
        v.guest.keep_shadow();
    if (dirty == state::rax_word) {
        v.guest.set_rax(rax);
    } else if (dirty != 0) {
        v.guest.set_rax(v.page->gpr[gpr_rax]);
        v.gpr[gpr_rcx] = v.page->gpr[gpr_rcx];
        v.gpr[gpr_rdx] = v.page->gpr[gpr_rdx];
        v.gpr[gpr_rbx] = v.page->gpr[gpr_rbx];
    }
    v.delivery = 0;
    v.end_wait();
    v.state = ContextState::ready;
    handler.caller = nullptr;
    handler.state = ContextState::accepting;
    handler.open_on = &core;
    core.current = &v;
    return true;
}

}  // namespace margay
