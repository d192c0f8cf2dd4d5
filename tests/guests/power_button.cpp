// Says how often its power button was pressed, by the SCI as ACPI 6.4 §4.8.2.2 has it, and powers off at press number
// `presses` of its command line.
#include "support/options.hpp"
#include "tests/guests/guest.hpp"
#include "tests/guests/idt.hpp"

using namespace margay::guest;

namespace {

constexpr std::uint16_t pm_status = 0x600, pm_enable = 0x602;
constexpr std::uint16_t power_button = 1 << 8;
constexpr unsigned sci = 9, sci_vector = 0x51;

volatile unsigned interrupts = 0;

[[gnu::naked]] void on_sci() {
    asm volatile("push %%rax\n\t"
                 "push %%rcx\n\t"
                 "push %%rdx\n\t"
                 "incl %0\n\t"
                 "mov %1, %%edx\n\t"  // the cause goes before the level-triggered interrupt ends
                 "mov %2, %%eax\n\t"
                 "outw %%ax, %%dx\n\t"
                 "mov $0x80b, %%ecx\n\t"  // x2APIC EOI
                 "xor %%eax, %%eax\n\t"
                 "xor %%edx, %%edx\n\t"
                 "wrmsr\n\t"
                 "pop %%rdx\n\t"
                 "pop %%rcx\n\t"
                 "pop %%rax\n\t"
                 "iretq"
                 : "+m"(interrupts)
                 : "i"(pm_status), "i"(power_button));
}

void set_up() {
    set_gate(sci_vector, on_sci);
    load_idt();
    switch_to_x2apic();
    write_msr(0x80f, 0x1ff);  // local APIC on
    auto* select = reinterpret_cast<volatile std::uint32_t*>(0xfec00000);
    auto* window = reinterpret_cast<volatile std::uint32_t*>(0xfec00010);
    *select = 0x10 + 2 * sci;
    *window = 1 << 15 | sci_vector;  // level
    out16(pm_enable, power_button);
}

}  // namespace

void guest_main(void* boot_parameters) {
    const std::uint64_t presses =
        margay::find_number(command_line_of(boot_parameters), "presses").value_or(1);
    set_up();
    say("button ready\n");
    for (unsigned seen = 0; seen < presses;) {
        asm volatile("sti; hlt; cli" : : : "memory");
        while (seen < interrupts) say("button {}\n", ++seen);
    }
    power_off();
}
