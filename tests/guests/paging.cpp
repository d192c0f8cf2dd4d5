// Clears CR4.PAE in long mode, which a processor refuses with #GP. Some emulators do not, and then their own
// state is no longer sane: the node must live on. With #GP the guest goes on and powers off.
#include "tests/guests/guest.hpp"
#include "tests/guests/idt.hpp"

using namespace margay::guest;

namespace {

volatile unsigned faults = 0;

// #GP of a three-byte MOV to CR4.
[[gnu::naked]] void on_general_protection() {
    asm volatile("incl %0\n\tadd $8, %%rsp\n\taddq $3, (%%rsp)\n\tiretq" : "+m"(faults));
}

}  // namespace

void guest_main(void*) {
    set_gate(13, on_general_protection);
    load_idt();
    std::uint64_t cr4;
    asm volatile("mov %%cr4, %0" : "=r"(cr4));
    say("paging: CR4 is {x}\n", cr4);
    asm volatile("mov %0, %%cr4" : : "a"(cr4 & ~0x20ull) : "memory");
    std::uint64_t after;
    asm volatile("mov %%cr4, %0" : "=r"(after));
    asm volatile("mov %0, %%cr4" : : "a"(cr4 ^ 0x80) : "memory");
    asm volatile("mov %%cr4, %0" : "=r"(after));
    say("paging: refused {}, PGE toggled {}\n", faults, (after ^ cr4) == 0x80 ? 1 : 0);
    power_off();
}
