// Ways out of the kernel (syscall_entry.S).
#pragma once
#include <cstdint>

#include "ukernel/core/context.hpp"

namespace margay {
struct Thread;
}

// Returns from a system call with the registers in the Thread.
extern "C" [[noreturn]] void enter_thread_result(margay::Thread* thread);
// Continues an interrupted thread.
extern "C" [[noreturn]] void enter_thread_full(margay::Thread* thread);

namespace margay {

// Returns from reply_wait with a message, without a detour through memory. Its tables are loaded.
[[noreturn, gnu::always_inline]] inline void
enter_thread_message(const ContextFields& t, std::uint64_t badge, std::uint64_t label,
                     std::uint64_t w0, std::uint64_t w1, std::uint64_t w2, std::uint64_t w3,
                     std::uint64_t w4, std::uint64_t w5) {
    register std::uint64_t r8 asm("r8") = w1;
    register std::uint64_t r9 asm("r9") = w2;
    register std::uint64_t r10 asm("r10") = w3;
    register std::uint64_t r12 asm("r12") = w4;
    register std::uint64_t r13 asm("r13") = w5;
    register std::uint64_t r11 asm("r11") = t.rflags;
    asm volatile("mov %%rbx, %%rsp\n\t"
                 "xor %%eax, %%eax\n\t"  // Status::ok
                 "xor %%ebx, %%ebx\n\t"
                 "xor %%ebp, %%ebp\n\t"
                 "xor %%r14d, %%r14d\n\t"
                 "xor %%r15d, %%r15d\n\t"
                 ".pushsection .sysret_sites, \"a\"\n\t"  // mitigation.cpp
                 ".quad 1f\n\t"
                 ".popsection\n\t"
                 "1: swapgs\n\t"
                 "sysretq"
                 :
                 : "D"(badge), "S"(label), "d"(w0), "r"(r8), "r"(r9), "r"(r10), "r"(r12), "r"(r13),
                   "c"(t.rip), "r"(r11), "b"(t.gpr[gpr_rsp])
                 : "memory");
    __builtin_unreachable();
}

}  // namespace margay
