// What programs that nobody here wrote expect of a processor: registers that CPUID implies, faults in place of a dead VM.
#include "tests/guests/guest.hpp"
#include "tests/guests/idt.hpp"

using namespace margay::guest;

namespace {

unsigned failures = 0;

void check(const char* what, bool good) {
    if (!good) ++failures;
    say("{} {}\n", good ? "ok" : "FAILED", what);
}

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
    say("foreign checks: {} failed\n", failures);
    power_off();
}
