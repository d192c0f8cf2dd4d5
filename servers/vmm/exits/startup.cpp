// Class startup: the state in which the boot protocol enters the kernel, or that of a VM that was saved.
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

namespace {

constexpr std::uint64_t efer_lma = 1 << 10;

}  // namespace

// The supervisor has put the vCPU's state into the state page. What the kernel had of it besides is given
// anew, and no time has passed for the guest.
void Machine::go_on(Reply& r) {
    VcpuGlueState& glue = glue_.edit();
    // Several must agree to the tick.
    glue.host_tsc_at_start += (cpus_.count == 1 ? rdtsc() : resumed_at_) - restored_at_;
    glue.offered_vector = no_vector;
    glue.armed_deadline_ns = vmm::no_deadline;
    board_.steal_time().begin_anew();
    (void)board_.steal_time().clear_mark();  // the processor holds nothing for it
    if (cpu_ == 0) {
        board_.forget_power_presses();  // first: it takes the lock
        console_.begin_anew();
    }
    state_.tsc_offset = clock_.offset();
    state_.intercepts = intercepts();  // it may share a core here that it had for itself there
    r.action = Action::resume;
    r.dirty = (state::all & ~state::instruction) | state::lazy;
    if (glue.waits_for_function != 0) unusual_.function_wait = FunctionWait::begins;
    // What was in its inbox when it was saved: the call to look is not part of what is saved.
    if (cpus_.count > 1) take_messages(r);
}

// CR8: the task priority is the local APIC model's, which weighs it before it offers an interrupt. PAUSE: see
// Action::give_way.
InterceptState Machine::intercepts() const {
    return {0, 1 << 8, 1 << 8, shares_core_ ? intercept_flag::pause : 0, 0};
}

void Machine::on_startup(Reply& r) {
    if (glue_->started != 0) {
        go_on(r);
        return;
    }
    glue_.edit().started = 1;
    if (cpu_ != 0) return await_startup(r);
    VcpuState& s = state_;
    for (std::uint64_t& g : s.gpr) g = 0;
    s.gpr[gpr_rax] = start_.rax;
    s.gpr[gpr_rbx] = start_.rbx;
    s.gpr[gpr_rsp] = start_.rsp;
    s.gpr[gpr_rsi] = start_.rsi;
    s.rip = start_.rip;
    s.rflags = 2;
    const SegmentState data{start_.data_selector, 0xc93, 0xffffffff, 0};
    s.es = s.ss = s.ds = s.fs = s.gs = data;
    const bool is_long = (start_.efer & efer_lma) != 0;
    const std::uint16_t code = is_long ? 0xa9b : 0xc9b;
    s.cs = {start_.code_selector, code, 0xffffffff, 0};
    s.tr = {start_.task_selector, 0x8b, 0x67, 0};
    s.ldtr = {0, 0x82, 0, 0};
    s.gdtr = {0, 0, start_.gdt_limit, start_.gdt_base};
    s.idtr = {0, 0, 0, 0};
    s.cr0 = start_.cr0, s.cr2 = 0, s.cr3 = start_.cr3, s.cr4 = start_.cr4, s.efer = start_.efer;
    reset_rest();
    r.action = Action::resume;
    r.dirty = state::all & ~state::instruction;
    control_.first_entry = rdtsc();
}

// What a start has in common, however it begins: no debugging, no system calls, nothing to inject.
void Machine::reset_rest() {
    VcpuState& s = state_;
    s.dr6 = 0xffff0ff0, s.dr7 = 0x400;
    s.star = s.lstar = s.cstar = s.sfmask = s.kernel_gs_base = 0;
    s.sysenter_cs = s.sysenter_esp = s.sysenter_eip = 0;
    s.pat = board_.pat();
    s.event = 0;
    s.intercepts = intercepts();
    s.tsc_offset = clock_.offset();
    s.shadow = 0;
}

void Machine::await_startup(Reply& r) {
    VcpuGlueState& glue = glue_.edit();
    glue.awaits_startup = 1;
    glue.halted = glue.is_off = glue.kicked = 0;
    r.action = Action::park;
}

// Real mode at the beginning of that page; the rest as INIT leaves it (AMD APM vol. 2 §14.1.3).
void Machine::start_at(std::uint8_t page, Reply& r) {
    glue_.edit().awaits_startup = 0;
    VcpuState& s = state_;
    for (std::uint64_t& g : s.gpr) g = 0;
    s.gpr[gpr_rdx] = board_.cpuid(1, 0).eax;
    s.rip = 0;
    s.rflags = 2;
    s.es = s.ss = s.ds = s.fs = s.gs = {0, 0x93, 0xffff, 0};
    s.cs = {static_cast<std::uint16_t>(page << 8), 0x9b, 0xffff, std::uint64_t{page} << 12};
    s.tr = {0, 0x8b, 0xffff, 0};
    s.ldtr = {0, 0x82, 0xffff, 0};
    s.gdtr = s.idtr = {0, 0, 0xffff, 0};
    s.cr0 = 0x10, s.cr2 = s.cr3 = s.cr4 = s.efer = 0;
    reset_rest();
    r.action = Action::resume;
    r.dirty |= (state::all & ~state::instruction) | state::translations;
}

void Machine::obey_messages(Reply& r) {
    LocalApic& apic = board_.local_apic();
    if (apic.has_init()) {
        apic.take_init();
        await_startup(r);
    }
    if (!apic.has_startup()) return;
    const std::uint8_t page = apic.take_startup();
    if (glue_->awaits_startup != 0) start_at(page, r);
}

}  // namespace margay::vmm
