// Measures what an exit waits whose VMM dies of it: by itself, and while the supervisor works for a neighbour.
// The VMM must be one with "hypercall=0xdead". It begins when a byte is typed on its console. The first deaths
// are those without a neighbour's work; then the guest says "alone", and goes on until the next byte.
// Options, in the manifest's `append`:
//   by=NAME    what is done for the neighbour: the figure is restart_delay_by_NAME
//   exits=N    between two deaths
#include <algorithm>

#include "support/options.hpp"
#include "tests/guests/guest.hpp"

using namespace margay;
using namespace margay::guest;

namespace {

constexpr unsigned deaths_alone = 20, max_deaths = 100'000;

std::uint64_t provoke() {
    const std::uint64_t begin = rdtsc();
    std::uint64_t rax = 0xdead;
    asm volatile("vmmcall" : "+a"(rax) : : "memory");
    return rdtsc() - begin;
}

// A dead VMM is buried while the next one serves.
void pause(unsigned exits) {
    for (unsigned i = 0; i < exits; ++i) out8(0x3ff, 0x55);  // UART scratch register
}

bool is_told() {
    if ((in8(0x3fd) & 1) == 0) return false;
    (void)in8(0x3f8);
    return true;
}

}  // namespace

void guest_main(void* boot_parameters) {
    const std::string_view line = command_line_of(boot_parameters);
    const std::string_view by = find_option(line, "by").value_or("neighbour");
    const auto exits = static_cast<unsigned>(find_number(line, "exits").value_or(3000));
    say("ready\n");
    while (!is_told()) pause(exits);
    std::uint64_t alone = 0, longest = 0;
    for (unsigned i = 0; i < deaths_alone; ++i) {
        pause(exits);
        alone = std::max(alone, provoke());
    }
    say("alone\n");
    unsigned deaths = 0;
    for (; deaths < max_deaths && !is_told(); ++deaths) {
        pause(exits);
        longest = std::max(longest, provoke());
    }
    say("bench: vmm_blackout_alone_by_{} {} ns {}\n", by, alone, deaths_alone);
    say("bench: vmm_blackout_by_{} {} ns {}\n", by, longest, deaths);
    say("bench: restart_delay_by_{} {} ns {}\n", by, longest > alone ? longest - alone : 0, deaths);
    power_off();
}
