// Provokes one exit class after the other and checks what the guest sees of the answer.
#include "tests/guests/check.hpp"
#include "tests/guests/guest.hpp"
#include "tests/guests/idt.hpp"

using namespace margay::guest;

namespace {

volatile unsigned general_protections = 0, invalid_opcodes = 0, ticks = 0;

// #GP: skips a two-byte instruction (RDMSR, WRMSR).
[[gnu::naked]] void on_general_protection() {
    asm volatile("incl %0\n\t"
                 "add $8, %%rsp\n\t"
                 "addq $2, (%%rsp)\n\t"
                 "iretq"
                 : "+m"(general_protections));
}
// #UD: skips a three-byte instruction (VMRUN, MONITOR).
[[gnu::naked]] void on_invalid_opcode() {
    asm volatile("incl %0\n\t"
                 "addq $3, (%%rsp)\n\t"
                 "iretq"
                 : "+m"(invalid_opcodes));
}
[[gnu::naked]] void on_tick() {
    asm volatile("push %%rax\n\t"
                 "push %%rcx\n\t"
                 "push %%rdx\n\t"
                 "incl %0\n\t"
                 "mov $0x80b, %%ecx\n\t"  // x2APIC EOI
                 "xor %%eax, %%eax\n\t"
                 "xor %%edx, %%edx\n\t"
                 "wrmsr\n\t"
                 "pop %%rdx\n\t"
                 "pop %%rcx\n\t"
                 "pop %%rax\n\t"
                 "iretq"
                 : "+m"(ticks));
}

constexpr unsigned tick_vector = 0x41;

void set_up_interrupts() {
    set_gate(13, on_general_protection);
    set_gate(6, on_invalid_opcode);
    set_gate(tick_vector, on_tick);
    load_idt();
    check("the local APIC begins in xAPIC mode", (read_msr(0x1b) & 0xd00) == 0x900);
    switch_to_x2apic();
    write_msr(0x80f, 0x1ff);  // local APIC on
}

void test_port() {
    out8(0x3ff, 0xa5);
    check("port write and read", in8(0x3ff) == 0xa5);
    std::uint64_t rax = 0x1122334455667788;
    asm volatile("inb $0x80, %%al" : "+a"(rax));
    check("byte read keeps the rest of RAX", rax == 0x11223344556677ff);
    rax = 0x1122334455667788;
    asm volatile("in %%dx, %%eax" : "+a"(rax) : "d"(0x500));
    check("absent ports read ones; 32 bits clear the upper half", rax == 0xffffffff);
    // REP OUTS and INS against the RTC's RAM byte by byte would need its index: the scratch register
    // takes every byte and keeps the last.
    const char text[] = {1, 2, 3, 0x5a};
    const void* from = text;
    std::uint64_t count = sizeof(text);
    asm volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(0x3ff) : "memory");
    check("REP OUTSB", count == 0 && from == text + sizeof(text) && in8(0x3ff) == 0x5a);
    char back[3] = {};
    void* to = back;
    count = sizeof(back);
    asm volatile("rep insb" : "+D"(to), "+c"(count) : "d"(0x3ff) : "memory");
    check("REP INSB", count == 0 && back[0] == 0x5a && back[2] == 0x5a);
}

void test_cpuid_and_msr() {
    const CpuidResult hypervisor = cpuid(0x40000000);
    check("CPUID hypervisor leaf", hypervisor.ebx != 0 && (cpuid(1).ecx >> 31 & 1) == 1);
    check("CPUID hides SVM", (cpuid(0x80000001).ecx >> 2 & 1) == 0);
    write_msr(0x277, 0x0007040600070406);
    check("MSR PAT", read_msr(0x277) == 0x0007040600070406);
    const unsigned before = general_protections;
    (void)read_msr(0xdeadbeef);
    check("unknown MSR faults", general_protections == before + 1);
    const std::uint64_t efer = read_msr(0xc0000080);
    check("EFER hides SVME", (efer & 0x1500) == 0x500);
    write_msr(0xc0000080, efer | 0x1000);
    check("EFER.SVME faults", general_protections == before + 2);
    // A redundant prefix is part of the instruction that is skipped.
    std::uint32_t eax = 0, ebx, ecx = 0, edx;
    asm volatile(".byte 0x66, 0x0f, 0xa2" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    check("CPUID with a prefix", eax >= 1);
}

void test_mmio() {
    auto* select = reinterpret_cast<volatile std::uint32_t*>(0xfec00000);
    auto* window = reinterpret_cast<volatile std::uint32_t*>(0xfec00010);
    *select = 1;
    const std::uint32_t version = *window;
    say("I/O APIC version {x}\n", version);
    check("MMIO read", (version & 0xff) == 0x20);
    *select = 0x10;
    *window = 0x10045;
    const std::uint32_t entry = *window;
    say("I/O APIC entry {x}\n", entry);
    check("MMIO write", entry == 0x10045);
    check("MMIO where nothing is",
          *reinterpret_cast<volatile std::uint32_t*>(0xd0000000) == 0xffffffff);
}

void test_cr8() {
    std::uint64_t value = 5;
    asm volatile("mov %0, %%cr8" : : "r"(value));
    value = 0;
    asm volatile("mov %%cr8, %0" : "=r"(value));
    check("CR8 is the task priority", value == 5 && read_msr(0x808) == 0x50);
    register std::uint64_t r9 asm("r9") = 0;
    asm volatile("mov %0, %%cr8" : : "r"(r9));
    check("CR8 from R9", read_msr(0x808) == 0);
}

void test_hypercall() {
    std::uint64_t rax = 0x7777;
    asm volatile("vmmcall" : "+a"(rax) : : "memory");
    check("hypercall has an answer", static_cast<std::int64_t>(rax) == -1000);
}

void test_privileged() {
    const unsigned before = invalid_opcodes;
    std::uint64_t rax = 0;
    asm volatile(".byte 0x0f, 0x01, 0xd8" : "+a"(rax));  // VMRUN
    check("VMRUN is an invalid opcode", invalid_opcodes == before + 1);
    asm volatile(".byte 0x0f, 0x01, 0xc8" : : "a"(0), "c"(0), "d"(0));  // MONITOR
    check("MONITOR is an invalid opcode", invalid_opcodes == before + 2);
    asm volatile("wbinvd" : : : "memory");
    asm volatile("pause");
    check("WBINVD and PAUSE", true);
}

// Halts until a timer interrupt; STI;HLT must not sleep through one that is pending.
void test_halt_and_deadline() {
    for (unsigned i = 1; i <= 50; ++i) {
        const std::uint64_t due = rdtsc() + 20000 * i;
        write_msr(0x6e0, due);
        asm volatile("sti; hlt; cli" : : : "memory");
        if (ticks != i || rdtsc() < due) {
            check("HLT until the deadline", false);
            return;
        }
    }
    check("HLT until the deadline", true);
}

// An interrupt that is taken while the guest runs.
void test_interrupt_while_running() {
    const unsigned before = ticks;
    write_msr(0x6e0, rdtsc() + 100000);
    asm volatile("sti");
    for (unsigned long i = 0; i < 2000000000 && ticks == before; ++i) asm volatile("pause");
    asm volatile("cli");
    check("interrupt while running", ticks == before + 1);
}

// A self IPI with interrupts off is taken exactly once, and not before STI.
void test_interrupt_held_back() {
    const unsigned before = ticks;
    write_msr(0x83f, tick_vector);
    (void)cpuid(0);
    const bool held = ticks == before;
    asm volatile("sti; nop; nop; cli" : : : "memory");
    (void)cpuid(0);
    check("interrupt held back until STI, taken once", held && ticks == before + 1);
}

}  // namespace

void guest_main(void*) {
    set_up_interrupts();
    write_msr(0x832, 2u << 17 | tick_vector);  // TSC deadline
    test_port();
    test_cpuid_and_msr();
    test_mmio();
    test_cr8();
    test_hypercall();
    test_privileged();
    test_halt_and_deadline();
    test_interrupt_while_running();
    test_interrupt_held_back();
    say("guest checks: {} failed\n", failures);
    if (failures == 0) power_off();
    asm volatile("lidt %0; int3"
                 :
                 : "m"(*reinterpret_cast<const TablePointer*>("\0\0\0\0\0\0\0\0\0\0")));
    __builtin_unreachable();
}
