// Computes for a while without a single exit, and says when; with interrupts on, though none comes, if the word
// interrupts_on stands on its command line.
#include "support/options.hpp"
#include "tests/guests/guest.hpp"

using namespace margay::guest;

void guest_main(void* boot_parameters) {
    // Some seconds on any processor of the last decade.
    constexpr std::uint64_t ticks = 1ull << 34;
    if (margay::find_option(command_line_of(boot_parameters), "interrupts_on")) asm volatile("sti");
    say("spinning\n");
    const std::uint64_t begin = rdtsc();
    while (rdtsc() - begin < ticks) {}
    say("done\n");
    power_off();
}
