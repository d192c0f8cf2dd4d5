// Exceptions and interrupts in C++ (stubs: interrupt_entry.S).
#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/iommu/iommu.hpp"
#include "ukernel/arch/x86_64/machine_check.hpp"
#include "ukernel/core/measure.hpp"
#include "ukernel/debug/report.hpp"
#include "ukernel/object/domain.hpp"
#include "ukernel/object/irq.hpp"
#include "ukernel/object/thread.hpp"
#include "ukernel/sched/scheduler.hpp"

namespace margay {

static_assert(apic::vector::first_gsi + max_gsi <= apic::vector::first_message &&
              apic::vector::first_message + message_vectors <= apic::vector::timer);

namespace {

// What an interrupt means, whoever it interrupted.
void serve(unsigned vector) {
    Core& core = Core::here();
    ++core.interrupts;
    // A device or another processor can send any vector at any time: what the local APIC has not in
    // service gets no EOI, which would end another one's, and what nobody expects is only counted.
    if (!apic::in_service(vector)) {
        ++core.stray_interrupts;
        return;
    }
    apic::end_of_interrupt();
    if (vector == apic::vector::timer)
        scheduler::serve_timer();
    else if (vector == apic::vector::kick)
        core.serve_work();
    else if (vector == apic::vector::iommu && iommu::is_present())
        iommu::serve_faults();
    else if (vector >= apic::vector::first_gsi && vector < apic::vector::first_gsi + max_gsi)
        Irq::fire_line(vector - apic::vector::first_gsi);
    else if (vector >= apic::vector::first_message &&
             vector < apic::vector::first_message + message_vectors)
        Irq::fire_message(vector);
    else
        ++core.stray_interrupts;
}

// The local APIC delivers no vector below 16 (AMD APM vol. 2 §16.6.3), so those are exceptions. Of the ones
// above, #MF and #XM need floating point, #AC needs CR0.AM, and the rest features that are off: only the
// machine check can occur, and has a path of its own. What comes there is an interrupt.
constexpr bool is_exception(std::uint64_t vector) { return vector < 16; }

void save_frame(Thread& t, const InterruptFrame& f) {
    t.gpr[gpr_rax] = f.rax, t.gpr[gpr_rcx] = f.rcx, t.gpr[gpr_rdx] = f.rdx, t.gpr[gpr_rbx] = f.rbx;
    t.gpr[gpr_rbp] = f.rbp, t.gpr[gpr_rsi] = f.rsi, t.gpr[gpr_rdi] = f.rdi, t.gpr[gpr_rsp] = f.rsp;
    t.gpr[gpr_r8] = f.r8, t.gpr[gpr_r9] = f.r9, t.gpr[gpr_r10] = f.r10, t.gpr[gpr_r11] = f.r11;
    t.gpr[gpr_r12] = f.r12, t.gpr[gpr_r13] = f.r13, t.gpr[gpr_r14] = f.r14, t.gpr[gpr_r15] = f.r15;
    // An interrupt can come right behind a jump to nowhere, and IRETQ to an address that is not canonical
    // would fault in the kernel. Behind the user's half the thread faults by itself.
    t.rip = f.rip < user_end ? f.rip : user_end;
    t.rflags = f.rflags;
    t.full_frame = 1;
}

}  // namespace

// At user level. Ends in the scheduler.
extern "C" [[noreturn]] void user_interrupt(InterruptFrame* frame) {
    auto& t = static_cast<Thread&>(*Core::here().current);
    measure::entered(t.core->id);
    save_frame(t, *frame);
    if (!is_exception(frame->vector)) {
        serve(static_cast<unsigned>(frame->vector));
    } else {
        t.fault_vector = frame->vector;
        t.fault_error = frame->error;
        t.fault_address = frame->vector == 14 ? cpu::read_cr2() : 0;
        if (!t.dies_quietly) {
            report_thread_fault(t);
            measure::entered(t.core->id);
        }
        if (t.domain != nullptr && t.domain->is_supervisor) stop_node("init died");
        t.die();
    }
    scheduler::leave();
}

// In the kernel: only where it lets interrupts in (idle, after a guest exit); anything else is a bug.
extern "C" void kernel_interrupt(InterruptFrame* frame) {
    if (is_exception(frame->vector)) report_kernel_fault(*frame, nullptr);
    serve(static_cast<unsigned>(frame->vector));
}

// NMI, double fault, machine check.
extern "C" void paranoid_interrupt(InterruptFrame* frame) {
    constexpr std::uint64_t nmi = 2, machine_check_vector = 18;
    if (frame->vector == nmi) {
        // Nobody sends one on purpose: it asks for nothing.
        ++Core::here().nmis;
        return;
    }
    if (frame->vector == machine_check_vector) {
        if (!machine_check::serve()) serve(machine_check_vector);
        return;
    }
    report_kernel_fault(*frame, nullptr);
}

}  // namespace margay
