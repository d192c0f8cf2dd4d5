// Makes exits of known number on each of its vCPUs, round by round: what counts exits is compared with it. A byte typed on the
// guest's console begins the next round. Option: cpus=2.
#include "support/options.hpp"
#include "tests/guests/guest.hpp"
#include "tests/guests/second_cpu.hpp"

using namespace margay;
using namespace margay::guest;

namespace {

alignas(16) std::byte stack[16 << 10];
volatile unsigned wanted = 0, done = 0;  // rounds of the second vCPU

constexpr std::uint64_t poll_ticks = 400'000;

void second() {
    for (;;) {
        while (done == wanted) asm volatile("pause");
        for (unsigned i = 0; i < 300; ++i) (void)cpuid(1);
        done = done + 1;
    }
}

void round() {
    for (unsigned i = 0; i < 1000; ++i) (void)cpuid(1);
    for (unsigned i = 0; i < 70; ++i) {
        std::uint64_t rax = 0x1234;
        asm volatile("vmmcall" : "+a"(rax) : : "memory");
    }
}

}  // namespace

void guest_main(void* boot_parameters) {
    const bool two = find_number(command_line_of(boot_parameters), "cpus").value_or(1) == 2;
    if (two) {
        switch_to_x2apic();
        start_second_cpu(stack + sizeof(stack), second);
    }
    for (unsigned n = 1;; ++n) {
        wanted = n;
        round();
        while (two && done != wanted) asm volatile("pause");
        say("round {}\n", n);
        // Not so often that its VMMs die without end.
        while ((in8(0x3fd) & 1) == 0)
            for (const std::uint64_t begin = rdtsc(); rdtsc() - begin < poll_ticks;) {}
        (void)in8(0x3f8);
    }
}
