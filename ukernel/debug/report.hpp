// What is printed when something fails.
#pragma once
#include <cstdint>

namespace margay {

struct Thread;
struct Vcpu;

// Registers as the interrupt stubs push them.
struct InterruptFrame {
    std::uint64_t rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
    std::uint64_t vector, error;
    std::uint64_t rip, cs, rflags, rsp, ss;
};

// A server's thread faulted: registers, the domain's name and a symbolised backtrace.
void report_thread_fault(const Thread& thread);
// A guest cannot go on: its registers and the last exits.
void report_guest_failure(const Vcpu& vcpu, const char* why);
// The node cannot go on.
[[noreturn]] void stop_node(const char* why);
// The kernel itself failed: never returns.
[[noreturn]] void report_kernel_fault(const InterruptFrame& frame, const char* what);

}  // namespace margay
