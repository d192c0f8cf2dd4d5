// Exceptions and interrupts in C++ (stubs: interrupt_entry.S).
#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/debug/report.hpp"
#include "ukernel/object/domain.hpp"
#include "ukernel/object/irq.hpp"
#include "ukernel/object/thread.hpp"
#include "ukernel/sched/scheduler.hpp"

namespace margay {

namespace {

// What an interrupt means, whoever it interrupted.
void serve(unsigned vector) {
    Core& core = Core::here();
    ++core.interrupts;
    if (vector == apic::vector::spurious) return;
    apic::end_of_interrupt();
    if (vector == apic::vector::timer)
        scheduler::serve_timer();
    else if (vector == apic::vector::kick)
        core.serve_work();
    else if (vector >= apic::vector::first_gsi && vector < apic::vector::first_gsi + max_gsi)
        Irq::fire(vector - apic::vector::first_gsi);
}

void save_frame(Thread& t, const InterruptFrame& f) {
    t.gpr[gpr_rax] = f.rax, t.gpr[gpr_rcx] = f.rcx, t.gpr[gpr_rdx] = f.rdx, t.gpr[gpr_rbx] = f.rbx;
    t.gpr[gpr_rbp] = f.rbp, t.gpr[gpr_rsi] = f.rsi, t.gpr[gpr_rdi] = f.rdi, t.gpr[gpr_rsp] = f.rsp;
    t.gpr[gpr_r8] = f.r8, t.gpr[gpr_r9] = f.r9, t.gpr[gpr_r10] = f.r10, t.gpr[gpr_r11] = f.r11;
    t.gpr[gpr_r12] = f.r12, t.gpr[gpr_r13] = f.r13, t.gpr[gpr_r14] = f.r14, t.gpr[gpr_r15] = f.r15;
    t.rip = f.rip;
    t.rflags = f.rflags;
    t.full_frame = 1;
}

}  // namespace

// At user level. Ends in the scheduler.
extern "C" [[noreturn]] void user_interrupt(InterruptFrame* frame) {
    auto& t = static_cast<Thread&>(*Core::here().current);
    save_frame(t, *frame);
    if (frame->vector >= 32) {
        serve(static_cast<unsigned>(frame->vector));
    } else {
        t.fault_vector = frame->vector;
        t.fault_error = frame->error;
        t.fault_address = frame->vector == 14 ? cpu::read_cr2() : 0;
        report_thread_fault(t);
        if (t.domain != nullptr && t.domain->is_supervisor) stop_node("init died");
        t.die();
    }
    scheduler::leave();
}

// In the kernel: only where it lets interrupts in (idle, after a guest exit); anything else is a bug.
extern "C" void kernel_interrupt(InterruptFrame* frame) {
    if (frame->vector < 32) report_kernel_fault(*frame, nullptr);
    serve(static_cast<unsigned>(frame->vector));
}

// NMI, double fault, machine check.
extern "C" void paranoid_interrupt(InterruptFrame* frame) {
    if (frame->vector == 2) {
        ++Core::here().interrupts;
        return;
    }
    report_kernel_fault(*frame, nullptr);
}

}  // namespace margay
