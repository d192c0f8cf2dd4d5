// The instructions that a program needs beside C++: the system call, the time-stamp counter, CPUID.
//
// On the node they are inline. A hosted build has declarations only: whoever links programs into a host
// program defines them there (tests/host_node).
#pragma once
#include <cstdint>

#include "proto/kernel.hpp"

namespace margay::raw {

// Arguments and results of a system call, by register.
struct Registers {
    std::uint64_t rdi = 0, rsi = 0, rdx = 0, r8 = 0, r9 = 0, r10 = 0, r12 = 0, r13 = 0;
};

struct Cpuid {
    std::uint32_t eax, ebx, ecx, edx;
};

#if __STDC_HOSTED__

[[gnu::visibility("default")]] Status system_call(Syscall number, Registers& r);
[[gnu::visibility("default")]] std::uint64_t rdtsc();
[[gnu::visibility("default")]] Cpuid cpuid(std::uint32_t leaf, std::uint32_t subleaf);

#else

// The kernel lets RBX, RBP, R14 and R15 not survive; the compiler keeps only what it needs itself.
inline Status system_call(Syscall number, Registers& r) {
    std::uint64_t rax = static_cast<std::uint64_t>(number);
    register std::uint64_t r8 asm("r8") = r.r8;
    register std::uint64_t r9 asm("r9") = r.r9;
    register std::uint64_t r10 asm("r10") = r.r10;
    register std::uint64_t r12 asm("r12") = r.r12;
    register std::uint64_t r13 asm("r13") = r.r13;
    asm volatile("push %%rbp\n\tsyscall\n\tpop %%rbp"
                 : "+a"(rax), "+D"(r.rdi), "+S"(r.rsi), "+d"(r.rdx), "+r"(r8), "+r"(r9), "+r"(r10),
                   "+r"(r12), "+r"(r13)
                 :
                 : "rcx", "r11", "rbx", "r14", "r15", "memory");
    r.r8 = r8, r.r9 = r9, r.r10 = r10, r.r12 = r12, r.r13 = r13;
    return static_cast<Status>(rax);
}

#if MARGAY_RECORDER

// A recording VMM defines them (tests/servers/recording_vmm.cpp).
std::uint64_t rdtsc();
Cpuid cpuid(std::uint32_t leaf, std::uint32_t subleaf);

#else

inline std::uint64_t rdtsc() {
    std::uint32_t low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return low | static_cast<std::uint64_t>(high) << 32;
}

inline Cpuid cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
    Cpuid r;
    asm volatile("cpuid"
                 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                 : "a"(leaf), "c"(subleaf));
    return r;
}

#endif
#endif

}  // namespace margay::raw
