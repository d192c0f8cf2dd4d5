// Measures what an exit waits whose VMM dies of it: by itself, and while the supervisor saves a neighbour.
// The VMM must be one with "hypercall=0xdead". It begins when a byte is typed on its console. The first deaths
// are those without a neighbour's work; then the guest says "alone", and goes on until the next byte.
#include <algorithm>

#include "tests/guests/guest.hpp"

using namespace margay;
using namespace margay::guest;

namespace {

constexpr unsigned deaths_alone = 20, max_deaths = 100'000;
// Between two deaths: a dead VMM is buried while the next one serves.
constexpr unsigned exits_between = 3000;

std::uint64_t provoke() {
    const std::uint64_t begin = rdtsc();
    std::uint64_t rax = 0xdead;
    asm volatile("vmmcall" : "+a"(rax) : : "memory");
    return rdtsc() - begin;
}

void pause() {
    for (unsigned i = 0; i < exits_between; ++i) out8(0x3ff, 0x55);  // UART scratch register
}

bool is_told() {
    if ((in8(0x3fd) & 1) == 0) return false;
    (void)in8(0x3f8);
    return true;
}

}  // namespace

void guest_main(void*) {
    say("ready\n");
    while (!is_told()) pause();
    std::uint64_t alone = 0, longest = 0;
    for (unsigned i = 0; i < deaths_alone; ++i) {
        pause();
        alone = std::max(alone, provoke());
    }
    say("alone\n");
    unsigned deaths = 0;
    for (; deaths < max_deaths && !is_told(); ++deaths) {
        pause();
        longest = std::max(longest, provoke());
    }
    say("bench: vmm_blackout_alone {} ns {}\n", alone, deaths_alone);
    say("bench: vmm_blackout_neighbour {} ns {}\n", longest, deaths);
    say("bench: restart_delay_by_neighbour {} ns {}\n", longest > alone ? longest - alone : 0,
        deaths);
    power_off();
}
