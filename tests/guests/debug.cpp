// Debug exceptions, which pass through the kernel: the guest must have each of them, with the DR6 and the
// return address that the processor gives, and nothing else.
#include "tests/guests/check.hpp"
#include "tests/guests/guest.hpp"
#include "tests/guests/idt.hpp"

using namespace margay::guest;

namespace {

struct Trap {
    std::uint64_t rip, dr6;
};
Trap traps[64];
volatile unsigned trap_count = 0;

extern "C" [[gnu::used]] void record_trap(std::uint64_t rip) {
    std::uint64_t dr6;
    asm volatile("mov %%dr6, %0" : "=r"(dr6));
    traps[trap_count % 64] = {rip, dr6};
    trap_count = trap_count + 1;
    asm volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ull));
}

[[gnu::naked]] void on_debug() {
    asm volatile("push %rax\n\tpush %rcx\n\tpush %rdx\n\tpush %rsi\n\tpush %rdi\n\t"
                 "push %r8\n\tpush %r9\n\tpush %r10\n\tpush %r11\n\t"
                 "mov 72(%rsp), %rdi\n\t"
                 "call record_trap\n\t"
                 "pop %r11\n\tpop %r10\n\tpop %r9\n\tpop %r8\n\t"
                 "pop %rdi\n\tpop %rsi\n\tpop %rdx\n\tpop %rcx\n\tpop %rax\n\t"
                 "iretq");
}

void set_up() {
    set_gate(1, on_debug);
    load_idt();
    asm volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ull));
}

// Traces three NOPs and the POPF that ends it: a trap behind each of them.
void test_trace() {
    std::uint64_t first, flags;
    asm volatile("pushfq\n\t"
                 "mov (%%rsp), %1\n\t"
                 "orq $0x100, (%%rsp)\n\t"
                 "push %1\n\t"
                 "pop %1\n\t"
                 "popfq\n\t"
                 "nop\n\t"
                 "1: nop\n\t"
                 "nop\n\t"
                 "push %1\n\t"
                 "popfq\n\t"
                 "lea 1b(%%rip), %0"
                 : "=r"(first), "=&r"(flags)
                 :
                 : "memory", "cc");
    check("a trap behind each instruction", trap_count == 5);
    bool steps = true;
    for (unsigned i = 0; i < trap_count; ++i) steps = steps && (traps[i].dr6 & 0xe00f) == 0x4000;
    check("DR6 says single step", steps);
    check("return addresses",
          traps[0].rip == first && traps[1].rip == first + 1 && traps[2].rip == first + 2);
    std::uint64_t dr6;
    asm volatile("mov %%dr6, %0" : "=r"(dr6));
    check("DR6 is the guest's own", (dr6 & 0xe00f) == 0);
}

// An emulated instruction in between: the exit must not lose the trap or the guest's trap flag.
void test_trace_over_exit() {
    const unsigned before = trap_count;
    std::uint32_t eax = 0, ebx, ecx = 0, edx;
    asm volatile("pushfq\n\t"
                 "orq $0x100, (%%rsp)\n\t"
                 "popfq\n\t"
                 "nop\n\t"
                 "nop\n\t"
                 "pushfq\n\t"
                 "andq $~0x100, (%%rsp)\n\t"
                 "popfq\n\t"
                 "cpuid"
                 : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx)
                 :
                 : "memory", "cc");
    check("traced again", trap_count == before + 5);
}

// Instructions that the VMM executes: the trap comes behind each of them, with its address, HLT's as well.
void test_trace_over_intercepted() {
    const unsigned before = trap_count;
    std::uint64_t end;
    asm volatile("pushfq\n\t"
                 "orq $0x100, (%%rsp)\n\t"
                 "xor %%eax, %%eax\n\t"
                 "mov $0x277, %%ecx\n\t"
                 "popfq\n\t"
                 "cpuid\n\t"              // 1: leaves ECX, which is no MSR's
                 "mov $0x277, %%ecx\n\t"  // 2
                 "rdmsr\n\t"              // 3
                 "wrmsr\n\t"              // 4
                 "in $0x80, %%al\n\t"     // 5
                 "hlt\n\t"                // 6
                 "mov %%cr8, %%rax\n\t"   // 7
                 "mov %%rax, %%cr8\n\t"   // 8
                 "mov %%cr4, %%rax\n\t"   // 9
                 "mov %%rax, %%cr4\n\t"   // 10
                 "wbinvd\n\t"             // 11
                 "1: pushfq\n\t"
                 "andq $~0x100, (%%rsp)\n\t"
                 "popfq\n\t"
                 "lea 1b(%%rip), %0"
                 : "=r"(end)
                 :
                 : "rax", "rbx", "rcx", "rdx", "memory", "cc");
    check("a trap behind each intercepted instruction", trap_count == before + 14);
    check("and behind the last one of them its address",
          traps[(before + 10) % 64].rip == end &&
              (traps[(before + 10) % 64].dr6 & 0xe00f) == 0x4000);
    check("the addresses grow", traps[before % 64].rip < traps[(before + 1) % 64].rip &&
                                    traps[(before + 4) % 64].rip < traps[(before + 5) % 64].rip &&
                                    traps[(before + 5) % 64].rip + 1 < end);
}

// Thousands of them.
void test_many() {
    const unsigned before = trap_count;
    asm volatile("pushfq\n\t"
                 "orq $0x100, (%%rsp)\n\t"
                 "mov $1000, %%ecx\n\t"
                 "popfq\n\t"
                 "1: dec %%ecx\n\t"
                 "jnz 1b\n\t"
                 "pushfq\n\t"
                 "andq $~0x100, (%%rsp)\n\t"
                 "popfq"
                 :
                 :
                 : "rcx", "memory", "cc");
    check("thousands of traps", trap_count == before + 2003);
}

}  // namespace

void guest_main(void*) {
    set_up();
    test_trace();
    test_trace_over_exit();
    test_trace_over_intercepted();
    test_many();
    say("debug checks: {} failed\n", failures);
    if (failures == 0) power_off();
    asm volatile("ud2");
    __builtin_unreachable();
}
