// Class startup: the state in which the 64-bit Linux boot protocol enters the kernel, or that of a VM that
// was saved.
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

// The supervisor has put the vCPU's state into the state page. What the kernel had of it besides is given
// anew, and no time has passed for the guest.
void Machine::go_on(Reply& r) {
    VcpuGlueState& glue = glue_.edit();
    glue.host_tsc_at_start += rdtsc() - restored_at_;
    glue.offered_vector = no_vector;
    glue.armed_deadline_ns = vmm::no_deadline;
    console_.begin_anew();
    board_.forget_power_presses();
    state_.tsc_offset = clock_.offset();
    r.action = Action::resume;
    r.dirty = (state::all & ~state::instruction) | state::lazy;
}

void Machine::on_startup(Reply& r) {
    if (glue_->started != 0) {
        go_on(r);
        return;
    }
    glue_.edit().started = 1;
    VcpuState& s = state_;
    for (std::uint64_t& g : s.gpr) g = 0;
    s.gpr[gpr_rsp] = start_.rsp;
    s.gpr[gpr_rsi] = start_.rsi;
    s.rip = start_.rip;
    s.rflags = 2;
    const SegmentState data{start_.data_selector, 0xc93, 0xffffffff, 0};
    s.es = s.ss = s.ds = s.fs = s.gs = data;
    s.cs = {start_.code_selector, 0xa9b, 0xffffffff, 0};
    s.tr = {start_.task_selector, 0x8b, 0x67, 0};
    s.ldtr = {0, 0x82, 0, 0};
    s.gdtr = {0, 0, start_.gdt_limit, start_.gdt_base};
    s.idtr = {0, 0, 0, 0};
    s.cr0 = start_.cr0, s.cr2 = 0, s.cr3 = start_.cr3, s.cr4 = start_.cr4, s.efer = start_.efer;
    s.dr6 = 0xffff0ff0, s.dr7 = 0x400;
    s.star = s.lstar = s.cstar = s.sfmask = s.kernel_gs_base = 0;
    s.sysenter_cs = s.sysenter_esp = s.sysenter_eip = 0;
    s.pat = board_.pat();
    s.event = 0;
    // CR8: the task priority is the local APIC model's, which weighs it before it offers an interrupt.
    s.intercepts = {0, 1 << 8, 1 << 8, 0, 0};
    s.tsc_offset = clock_.offset();
    s.shadow = 0;
    r.action = Action::resume;
    r.dirty = state::all & ~state::instruction;
    control_.first_entry = rdtsc();
}

}  // namespace margay::vmm
