// What programs that nobody here wrote expect of a processor: registers that CPUID implies, faults in place of a dead VM.
#include "tests/guests/check.hpp"
#include "tests/guests/guest.hpp"
#include "tests/guests/idt.hpp"

using namespace margay::guest;

namespace {

// Where a fault goes on: set before what may fault, cleared by the fault.
volatile std::uint64_t resume_at = 0;
volatile unsigned fault_vector = 0;

template <unsigned vector, bool has_error>
[[gnu::naked]] void on_fault() {
    asm volatile(".if %c2\n\tadd $8, %%rsp\n\t.endif\n\t"
                 "movl %3, %1\n\t"
                 "push %%rax\n\t"
                 "mov %0, %%rax\n\t"
                 "mov %%rax, 8(%%rsp)\n\t"
                 "pop %%rax\n\t"
                 "iretq"
                 : "+m"(resume_at), "+m"(fault_vector)
                 : "i"(has_error), "i"(vector));
}

// The vector of the fault that an instruction makes, 0 if it makes none.
#define FAULT_OF(instruction, ...)                                                                 \
    ({                                                                                             \
        fault_vector = 0;                                                                          \
        asm volatile("lea 1f(%%rip), %%r11\n\tmov %%r11, %0\n\t" instruction "\n\t1:"              \
                     : "=m"(resume_at)                                                             \
                     : __VA_ARGS__                                                                 \
                     : "r11", "rax", "rcx", "rdx", "memory", "cc");                                \
        fault_vector;                                                                              \
    })

unsigned fault_of_reading(std::uint32_t msr) {
    return FAULT_OF("mov %1, %%ecx\n\trdmsr", "r"(msr));
}
unsigned fault_of_writing(std::uint32_t msr, std::uint64_t value) {
    return FAULT_OF("mov %1, %%ecx\n\tmov %2, %%rax\n\tmov %%rax, %%rdx\n\tshr $32, %%rdx\n\twrmsr",
                    "r"(msr), "r"(value));
}

constexpr unsigned invalid_opcode = 6, general_protection = 13;

// What an access to a register that does not exist makes: the manifest decides.
unsigned unknown_fault = general_protection;

void test_machine_checks() {
    constexpr std::uint32_t mce_and_mca = 1 << 7 | 1 << 14;
    check("CPUID shows machine checks", (cpuid(1).edx & mce_and_mca) == mce_and_mca);
    const std::uint64_t capability = read_msr(0x179);
    const auto banks = static_cast<unsigned>(capability & 0xff);
    check("there are banks", banks != 0 && fault_of_writing(0x17b, ~0ull) == 0);
    bool quiet = true;
    for (unsigned i = 0; i < 4 * banks; ++i)
        quiet = quiet && fault_of_reading(0x400 + i) == 0 && read_msr(0x400 + i) == 0;
    check("they are quiet", quiet);
    check("a bank's control is kept",
          fault_of_writing(0x400, ~0ull) == 0 && read_msr(0x400) == ~0ull);
    check("a status can be cleared only",
          fault_of_writing(0x401, 0) == 0 && fault_of_writing(0x401, 1) == general_protection);
    check("there is no bank behind the last", fault_of_reading(0x400 + 4 * banks) == unknown_fault);
}

void test_performance_counters() {
    bool there = true;
    for (std::uint32_t msr = 0xc0010000; msr <= 0xc0010007; ++msr)
        there = there && fault_of_reading(msr) == 0 && fault_of_writing(msr, 0x530076) == 0;
    for (std::uint32_t msr = 0xc0010200; msr <= 0xc001020b; ++msr)
        there = there && fault_of_reading(msr) == 0 && fault_of_writing(msr, 0x530076) == 0;
    check("event selects and counters exist", there && read_msr(0xc0010003) == 0x530076);
    check("RDPMC", FAULT_OF("xor %%ecx, %%ecx\n\trdpmc", "i"(0)) == 0 &&
                       FAULT_OF("mov $77, %%ecx\n\trdpmc", "i"(0)) == general_protection);
}

void test_unknown_registers() {
    bool as_wanted = true;
    for (unsigned i = 0; i < 1000; ++i)
        for (const std::uint32_t msr : {0x186u, 0x187u})
            as_wanted = as_wanted && fault_of_reading(msr) == unknown_fault &&
                        fault_of_writing(msr, 1) == unknown_fault;
    check("registers that do not exist", as_wanted && (unknown_fault != 0 || read_msr(0x186) == 0));
}

void test_efer() {
    constexpr std::uint64_t ffxsr = 1 << 14;
    const std::uint64_t before = read_msr(0xc0000080);
    const bool shown = (cpuid(0x80000001).edx >> 25 & 1) != 0;
    const unsigned fault = fault_of_writing(0xc0000080, before | ffxsr);
    check("EFER.FFXSR as CPUID says", fault == (shown ? 0 : general_protection) &&
                                          read_msr(0xc0000080) == (before | (shown ? ffxsr : 0)));
    write_msr(0xc0000080, before);
}

void test_apic_base() {
    constexpr std::uint32_t apic_base = 0x1b;
    constexpr std::uint64_t usual = 0xfee00000, elsewhere = 0xfd000000;
    write_msr(apic_base, usual);
    check("no APIC is shown while it is disabled",
          (cpuid(1).edx >> 9 & 1) == 0 && (cpuid(0x80000001).edx >> 9 & 1) == 0);
    write_msr(apic_base, elsewhere | 0x800);
    const auto version_at = [](std::uint64_t page) {
        return *reinterpret_cast<volatile std::uint32_t*>(page + 0x30);
    };
    check("the APIC moves", version_at(elsewhere) == 0x50014 && version_at(usual) == ~0u);
    check("its reserved bits fault",
          fault_of_writing(apic_base, elsewhere | 0x801) == general_protection &&
              fault_of_writing(apic_base, 1ull << 52 | 0x800) == general_protection);
    write_msr(apic_base, usual | 0x800);
    check("and comes back", version_at(usual) == 0x50014 && (cpuid(1).edx >> 9 & 1) == 1);
}

void test_control_registers() {
    std::uint64_t cr4;
    asm volatile("mov %%cr4, %0" : "=r"(cr4));
    const auto fault_of_setting = [&](std::uint64_t bits) {
        return FAULT_OF("mov %1, %%cr4", "r"(cr4 | bits));
    };
    // VMXE, SMXE, and whatever nobody knows yet.
    check("reserved bits of CR4 fault", fault_of_setting(1 << 13) == general_protection &&
                                            fault_of_setting(1 << 14) == general_protection &&
                                            fault_of_setting(1ull << 40) == general_protection);
    const bool has_xsave = (cpuid(1).ecx >> 26 & 1) != 0, has_pku = (cpuid(7).ecx >> 3 & 1) != 0;
    check("OSXSAVE where there is XSAVE",
          fault_of_setting(1 << 18) == (has_xsave ? 0 : general_protection));
    check("PKE where there are keys",
          fault_of_setting(1 << 22) == (has_pku ? 0 : general_protection));
    asm volatile("mov %0, %%cr4" : : "r"(cr4));
}

void test_instructions_of_hypervisors() {
    const unsigned faults[] = {FAULT_OF("xor %%eax, %%eax\n\tvmrun", "i"(0)),
                               FAULT_OF("xor %%eax, %%eax\n\tvmload", "i"(0)),
                               FAULT_OF("xor %%eax, %%eax\n\tvmsave", "i"(0)),
                               FAULT_OF("stgi", "i"(0)),
                               FAULT_OF("clgi", "i"(0)),
                               FAULT_OF("xor %%eax, %%eax\n\tskinit", "i"(0)),
                               FAULT_OF("xor %%ecx, %%ecx\n\tinvlpga", "i"(0)),
                               FAULT_OF("vmcall", "i"(0))};
    bool undefined = true;
    for (const unsigned fault : faults) undefined = undefined && fault == invalid_opcode;
    check("instructions of hypervisors do not exist", undefined);
}

// At user level: segments for it (selectors 0x30 and 0x38), a stack for what interrupts it, and pages that it may use.
std::uint64_t segments[8] = {0, 0, 0x00af'9b00'0000'ffff, 0x00cf'9300'0000'ffff,
                             0, 0, 0x00cf'f300'0000'ffff, 0x00af'fb00'0000'ffff};
struct [[gnu::packed]] {
    std::uint32_t reserved;
    std::uint64_t stack, rest[12];
} task;
alignas(16) std::uint8_t interrupt_stack[4096];
volatile std::uint64_t kernel_stack = 0, kernel_goes_on = 0;
constexpr unsigned back_vector = 0x44;

[[gnu::naked]] void on_back() {
    asm volatile("mov $0x18, %%eax\n\tmov %%eax, %%ss\n\tmov %0, %%rsp\n\tjmp *%1"
                 :
                 : "m"(kernel_stack), "m"(kernel_goes_on));
}

void let_user_in() {
    std::uint64_t table;
    asm volatile("mov %%cr3, %0" : "=r"(table));
    // The loader's: level 4, level 3, and four of level 2.
    for (unsigned i = 0; i < 6 * 512; ++i) {
        auto& entry = reinterpret_cast<std::uint64_t*>(table & ~0xfffull)[i];
        if ((entry & 1) != 0) entry |= 4;
    }
    asm volatile("mov %0, %%cr3" : : "r"(table) : "memory");
    const auto base = reinterpret_cast<std::uint64_t>(&task);
    segments[4] = 0x67 | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    segments[5] = base >> 32;
    task.stack = reinterpret_cast<std::uint64_t>(interrupt_stack + sizeof(interrupt_stack));
    const TablePointer p{sizeof(segments) - 1, reinterpret_cast<std::uint64_t>(segments)};
    asm volatile("lgdt %0\n\tltr %1" : : "m"(p), "r"(static_cast<std::uint16_t>(0x20)));
    set_gate(invalid_opcode, on_fault<invalid_opcode, false>);
    set_gate(back_vector, on_back);
    idt[back_vector].low |= 3ull << 45;
}

// As FAULT_OF, at user level.
#define USER_FAULT_OF(instruction)                                                                 \
    ({                                                                                             \
        fault_vector = 0;                                                                          \
        asm volatile("lea 2f(%%rip), %%r11\n\tmov %%r11, %0\n\t"                                   \
                     "lea 3f(%%rip), %%r11\n\tmov %%r11, %1\n\tmov %%rsp, %2\n\t"                  \
                     "push $0x33\n\tpush %2\n\tpushfq\n\tpush $0x3b\n\t"                           \
                     "lea 1f(%%rip), %%r11\n\tpush %%r11\n\tiretq\n\t"                             \
                     "1: " instruction "\n\t2: int $0x44\n\t3:"                                    \
                     : "=m"(resume_at), "=m"(kernel_goes_on), "=m"(kernel_stack)                   \
                     :                                                                             \
                     : "r11", "rax", "rbx", "rcx", "rdx", "memory", "cc");                         \
        fault_vector;                                                                              \
    })

void test_hypervisors_instructions_of_users() {
    let_user_in();
    check("user level", USER_FAULT_OF("nop") == 0 && USER_FAULT_OF("cli") == general_protection);
    const unsigned faults[] = {USER_FAULT_OF("xor %%eax, %%eax\n\tvmrun"),
                               USER_FAULT_OF("xor %%eax, %%eax\n\tvmload"),
                               USER_FAULT_OF("xor %%eax, %%eax\n\tvmsave"),
                               USER_FAULT_OF("stgi"),
                               USER_FAULT_OF("clgi"),
                               USER_FAULT_OF("xor %%eax, %%eax\n\tskinit"),
                               USER_FAULT_OF("xor %%eax, %%eax\n\txor %%ecx, %%ecx\n\tinvlpga")};
    // Where the processor looks at the level first, it is #GP.
    bool faulted = true;
    for (const unsigned fault : faults)
        faulted = faulted && (fault == invalid_opcode || fault == general_protection);
    check("nor do they at user level", faulted);
    check("a hypercall at user level", USER_FAULT_OF("mov $77, %%eax\n\tvmmcall") == 0);
}

void test_tsc_aux() {
    if ((cpuid(0x80000001).edx >> 27 & 1) == 0) return;
    write_msr(0xc0000103, 0x1234567);
    std::uint32_t low, high, aux;
    asm volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(aux));
    check("RDTSCP reads TSC_AUX", aux == 0x1234567);
}

void test_devices() {
    constexpr std::uint64_t io_apic = 0xfec00000, io_apic_window = 0xfec00010;
    asm volatile("mov %%cr4, %%rax\n\tor $0x200, %%rax\n\tmov %%rax, %%cr4" : : : "rax");  // OSFXSR
    check("SMSW to a device", FAULT_OF("smsw (%1)", "r"(io_apic)) == 0);
    check("a selector to a device", FAULT_OF("mov %%ds, (%1)", "r"(io_apic)) == 0);
    check("a vector to a device",
          FAULT_OF("movups %%xmm0, (%1)", "r"(io_apic_window)) == invalid_opcode);
    check("a vector from a device",
          FAULT_OF("movups (%1), %%xmm0", "r"(io_apic_window)) == invalid_opcode);
    check("a far jump through a device",
          FAULT_OF("ljmp *(%1)", "r"(io_apic_window)) == invalid_opcode);
    check("a segment from a device",
          FAULT_OF("lss (%1), %%eax", "r"(io_apic_window)) == invalid_opcode);
    check("code in a device", FAULT_OF("call *%1", "r"(io_apic)) == invalid_opcode);
}

// xAPIC registers.
volatile std::uint32_t& apic(unsigned offset) {
    return *reinterpret_cast<volatile std::uint32_t*>(0xfee00000ull + offset);
}
constexpr std::uint32_t to_self = 1 << 18, as_nmi = 4 << 8, tick_vector = 0x41, trap_vector = 0x42;
constexpr std::uint64_t trap_flag = 1 << 8;
volatile std::uint64_t ticks = 0, pushed_flags = 0;

[[gnu::naked]] void on_tick() {
    asm volatile("incq %0\n\tpush %%rax\n\tmov $0xfee000b0, %%eax\n\tmovl $0, (%%rax)\n\t"
                 "pop %%rax\n\tiretq"
                 : "+m"(ticks));
}
// INT, and a fault that goes on two bytes further (UD2): what did they push?
[[gnu::naked]] void on_trap() {
    asm volatile("push %%rax\n\tmov 24(%%rsp), %%rax\n\tor %%rax, %0\n\tpop %%rax\n\tiretq"
                 : "+m"(pushed_flags));
}
[[gnu::naked]] void on_ud2() {
    asm volatile("push %%rax\n\tmov 24(%%rsp), %%rax\n\tor %%rax, %0\n\tpop %%rax\n\t"
                 "addq $2, (%%rsp)\n\tiretq"
                 : "+m"(pushed_flags));
}

// STI holds interrupts back for one instruction more. If the timer's exit comes right there, the kernel steps over that
// instruction, which must not see it.
void test_interrupted_shadow() {
    constexpr std::uint32_t periodic = 1 << 17;
    const std::uint64_t before = ticks;
    std::uint64_t seen = 0, dr6 = 0;
    asm volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ull));
    apic(0x3e0) = 0xb;
    apic(0x320) = periodic | tick_vector;
    apic(0x380) = 50'000;              // ns
    constexpr unsigned enough = 1000;  // ticks in each loop
    std::uint64_t flags;
    while (ticks < before + enough) {
        asm volatile("sti\n\tpushfq\n\tcli\n\tpop %0" : "=r"(flags) : : "memory");
        seen |= flags;
    }
    while (ticks < before + 2 * enough) asm volatile("sti\n\tint $0x42\n\tcli" : : : "memory");
    while (ticks < before + 3 * enough) asm volatile("sti\n\tud2\n\tcli" : : : "memory");
    while (ticks < before + 4 * enough) {
        asm volatile("sti\n\tmov %%dr6, %0\n\tcli" : "=r"(flags) : : "memory");
        dr6 |= flags;
    }
    apic(0x380) = 0;
    asm volatile("sti\n\tnop\n\tcli");
    check("an interrupted shadow leaves no trap flag", ((seen | pushed_flags) & trap_flag) == 0);
    check("and nothing in DR6", (dr6 & 0x4000) == 0);
}

// An interrupt waits already.
void test_interrupt_shadow() {
    set_gate(tick_vector, on_tick);
    set_gate(trap_vector, on_trap);
    set_gate(invalid_opcode, on_ud2);
    apic(0xf0) = 0x1ff;
    constexpr unsigned rounds = 200;
    std::uint64_t seen = 0, dr6 = 0;
    asm volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ull));
    for (unsigned i = 0; i < rounds; ++i) {
        std::uint64_t flags;
        apic(0x300) = to_self | tick_vector;
        asm volatile("sti\n\tpushfq\n\tcli\n\tpop %0" : "=r"(flags) : : "memory");
        seen |= flags;
        apic(0x300) = to_self | tick_vector;
        asm volatile("sti\n\tint $0x42\n\tcli" : : : "memory");
        apic(0x300) = to_self | tick_vector;
        asm volatile("sti\n\tud2\n\tcli" : : : "memory");
        apic(0x300) = to_self | tick_vector;
        asm volatile("sti\n\tmov %%dr6, %0\n\tcli" : "=r"(flags) : : "memory");
        dr6 |= flags;
        apic(0x300) = to_self | tick_vector;
        asm volatile("sti\n\thlt\n\tcli" : : : "memory");
    }
    check("a shadow leaves no trap flag", ((seen | pushed_flags) & trap_flag) == 0);
    check("and nothing in DR6", (dr6 & 0x4000) == 0);
    check("each interrupt came once", ticks == 5 * rounds);
}

volatile std::uint64_t nmis = 0, nmi_depth = 0, deepest_nmi = 0;

extern "C" [[gnu::used]] void take_nmi() {
    nmis = nmis + 1;
    nmi_depth = nmi_depth + 1;
    if (nmi_depth > deepest_nmi) deepest_nmi = nmi_depth;
    if (nmis == 1) {
        apic(0x300) = to_self | as_nmi;
        for (unsigned i = 0; i < 10; ++i) (void)cpuid(0);
    }
    nmi_depth = nmi_depth - 1;
}
[[gnu::naked]] void on_nmi() {
    asm volatile("push %rax\n\tpush %rbx\n\tpush %rcx\n\tpush %rdx\n\tpush %rsi\n\tpush %rdi\n\t"
                 "push %r8\n\tpush %r9\n\tpush %r10\n\tpush %r11\n\t"
                 "call take_nmi\n\t"
                 "pop %r11\n\tpop %r10\n\tpop %r9\n\tpop %r8\n\t"
                 "pop %rdi\n\tpop %rsi\n\tpop %rdx\n\tpop %rcx\n\tpop %rbx\n\tpop %rax\n\tiretq");
}

void test_nmis() {
    set_gate(2, on_nmi);
    apic(0x300) = to_self | as_nmi;
    for (unsigned i = 0; i < 10; ++i) (void)cpuid(0);
    check("an NMI waits for the end of the one before", nmis == 2 && deepest_nmi == 1);
    apic(0x300) = to_self | as_nmi;
    (void)cpuid(0);
    check("and the next one comes", nmis == 3);
}

}  // namespace

void guest_main(void* boot_parameters) {
    set_gate(invalid_opcode, on_fault<invalid_opcode, false>);
    set_gate(general_protection, on_fault<general_protection, true>);
    load_idt();
    if (command_line_of(boot_parameters) == "zero") unknown_fault = 0;
    test_machine_checks();
    test_performance_counters();
    test_unknown_registers();
    test_efer();
    test_apic_base();
    test_control_registers();
    test_instructions_of_hypervisors();
    test_tsc_aux();
    test_devices();
    test_interrupt_shadow();
    test_interrupted_shadow();
    test_nmis();
    test_hypervisors_instructions_of_users();
    say("foreign checks: {} failed\n", failures);
    power_off();
}
