// Ways out of the kernel (syscall_entry.S).
#pragma once

namespace margay {
struct Thread;
}

// Returns from a system call with the registers in the Thread.
extern "C" [[noreturn]] void enter_thread_result(margay::Thread* thread);
// Continues an interrupted thread.
extern "C" [[noreturn]] void enter_thread_full(margay::Thread* thread);
