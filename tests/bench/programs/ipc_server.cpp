// The server that ipc.cpp measures: echoes what it gets; the label says how many words there are.
#include "libipc/start.hpp"
#include "libipc/startup.hpp"
#include "libipc/system_call.hpp"

using namespace margay;

namespace {
std::uint64_t private_copy[64];
}

void program_main(std::uint64_t) {
    const void* shared = reinterpret_cast<const void*>(find_startup_item("shared")->address);
    std::uint64_t rsi = 0, rdx = 0;
    register std::uint64_t r8 asm("r8") = 0;
    register std::uint64_t r9 asm("r9") = 0;
    register std::uint64_t r10 asm("r10") = 0;
    register std::uint64_t r12 asm("r12") = 0;
    for (;;) {
        std::uint64_t rax = static_cast<std::uint64_t>(Syscall::reply_wait);
        asm volatile("push %%rbp\n\tsyscall\n\tpop %%rbp"
                     : "+a"(rax), "+S"(rsi), "+d"(rdx), "+r"(r8), "+r"(r9), "+r"(r10), "+r"(r12)
                     :
                     : "rdi", "r13", "rcx", "r11", "rbx", "r14", "r15", "memory");
        if (rsi > message_words) {
            const void* from = shared;
            void* to = private_copy;
            std::uint64_t words = rsi;
            asm volatile("rep movsq" : "+S"(from), "+D"(to), "+c"(words) : : "memory");
        }
    }
}
