#include "ukernel/object/vcpu.hpp"

#include <new>

#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/core/core.hpp"
#include "ukernel/core/measure.hpp"
#include "ukernel/debug/report.hpp"
#include "ukernel/object/space.hpp"
#include "ukernel/object/thread.hpp"

namespace margay {

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
    lazy_registers::init(v->lazy);
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

// What an exit source of this kind does in its way.

std::uint64_t ExitSource::instruction_pointer() const {
    return static_cast<const Vcpu&>(*this).guest.rip();
}

void ExitSource::fill_message(Thread& handler, std::uint64_t badge) {
    auto& v = static_cast<Vcpu&>(*this);
    if (sent_to->wanted != 0) backend::store_state(v, sent_to->wanted);
    const std::uint64_t flags = v.message_flags();
    delivery |= delivery::seen;
    handler.set_status(Status::ok);
    handler.gpr[gpr_rdi] = badge;
    handler.gpr[gpr_rsi] = static_cast<std::uint64_t>(pending.exit_class) | flags << 8;
    handler.gpr[gpr_rdx] = sequence;
    handler.gpr[gpr_r8] = v.guest.rip();
    handler.gpr[gpr_r9] = pending.detail0;
    handler.gpr[gpr_r10] = pending.detail1;
    handler.gpr[gpr_r12] = v.guest.rax();
    handler.gpr[gpr_r13] = v.guest.rflags();
    handler.full_frame = 0;
}

Status ExitSource::apply(std::uint64_t dirty, std::uint64_t rax, std::uint64_t vector, bool skip) {
    auto& v = static_cast<Vcpu&>(*this);
    if ((dirty & state::valid_groups) != 0) {
        const Status s = backend::load_state(v, dirty);
        if (s != Status::ok) return s;
    }
    if ((dirty & state::rax_word) != 0) v.guest.set_rax(rax);
    if ((dirty & state::irq_word) != 0) backend::set_interrupt(v, vector);
    if ((dirty & state::translations) != 0) backend::flush(v);
    if (skip)
        v.guest.advance(pending.next_rip);
    else
        v.guest.keep_shadow();
    return Status::ok;
}

void ExitSource::report_stop(const char* why) const {
    report_guest_failure(static_cast<const Vcpu&>(*this), why);
    measure::entered(core->id);
}

}  // namespace margay
