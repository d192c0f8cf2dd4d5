// Computes for a while without a single exit, and says when.
#include "tests/guests/guest.hpp"

using namespace margay::guest;

void guest_main(void*) {
    // Some seconds on any processor of the last decade.
    constexpr std::uint64_t ticks = 1ull << 34;
    say("spinning\n");
    const std::uint64_t begin = rdtsc();
    while (rdtsc() - begin < ticks) {}
    say("done\n");
    power_off();
}
