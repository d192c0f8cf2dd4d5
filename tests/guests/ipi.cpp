// Measures what an interrupt from one vCPU to another costs, each on a core of its own and the receiver halted: what
// sending takes of the sender, and what lies between the end of that and the first instruction of the receiver's handler.
// Under instruction counting the emulator runs one core at a time and goes to the other when one waits by PAUSE, so that
// nothing of the sender is counted with the receiver.
#include "tests/guests/guest.hpp"
#include "tests/guests/idt.hpp"
#include "tests/guests/median.hpp"
#include "tests/guests/second_cpu.hpp"

using namespace margay::guest;

namespace {

constexpr unsigned warm_up = 20, repeats = 200;
constexpr unsigned vector = 0x40;
constexpr std::uint32_t spurious = 0x80f, end_of_interrupt = 0x80b;

alignas(16) std::byte stack[16384];
volatile std::uint64_t arrived = 0;  // TSC of the last one; 0: it has not come
volatile bool listens = false;
std::uint64_t sending[repeats], receiving[repeats];

extern "C" void note_arrival(std::uint64_t tsc) {
    write_msr(end_of_interrupt, 0);
    arrived = tsc;
}

// The time-stamp counter is the first that it reads.
[[gnu::naked]] void handler() {
    asm volatile(R"(
        push    %rax
        push    %rdx
        rdtsc
        push    %rcx
        push    %rdi
        push    %rsi
        push    %r8
        push    %r9
        push    %r10
        push    %r11
        shl     $32, %rdx
        or      %rdx, %rax
        mov     %rax, %rdi
        cld
        call    note_arrival
        pop     %r11
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rsi
        pop     %rdi
        pop     %rcx
        pop     %rdx
        pop     %rax
        iretq
    )");
}

void receiver() {
    load_idt();
    switch_to_x2apic();
    write_msr(spurious, 0x1ff);
    listens = true;
    for (;;) asm volatile("sti\n\thlt");
}

void wait_for(const volatile std::uint64_t& what) {
    while (what == 0) asm volatile("pause");
}

void tell(const char* key, std::uint64_t value) {
    say("bench: {} {} instructions {}\n", key, value, repeats);
}

}  // namespace

void guest_main(void*) {
    set_gate(vector, handler);
    switch_to_x2apic();
    start_second_cpu(stack + sizeof(stack), receiver);
    while (!listens) asm volatile("pause");
    for (unsigned i = 0; i < warm_up + repeats; ++i) {
        arrived = 0;
        // So that it is halted before: what it does until then is the emulator's next turn.
        for (unsigned turn = 0; turn < 4; ++turn) asm volatile("pause");
        const std::uint64_t begin = rdtsc();
        write_msr(x2apic_icr, 1ull << 32 | vector);
        const std::uint64_t sent = rdtsc();
        wait_for(arrived);
        if (i < warm_up) continue;
        sending[i - warm_up] = sent - begin;
        receiving[i - warm_up] = arrived - sent;
    }
    tell("ipi_send", median(sending));
    tell("ipi_receive", median(receiving));
    power_off();
}
