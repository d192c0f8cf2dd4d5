// Measures what an exit costs that a policy answers, and one that it forwards, against the same without it. Whoever runs it
// attaches a policy that answers a leaf of CPUID, when the guest is ready.
#include "tests/guests/guest.hpp"
#include "tests/guests/median.hpp"

using namespace margay::guest;

namespace {

constexpr unsigned warm_up = 100, repeats = 1000;
constexpr std::uint32_t answered_leaf = 0x4000'0100, forwarded_leaf = 1;
std::uint64_t samples[repeats];

void measure(const char* key, std::uint32_t leaf) {
    for (unsigned i = 0; i < warm_up; ++i) (void)cpuid(leaf);
    for (std::uint64_t& sample : samples) {
        const std::uint64_t begin = rdtsc();
        (void)cpuid(leaf);
        sample = rdtsc() - begin;
    }
    say("bench: {} {} instructions {}\n", key, median(samples), repeats);
}

}  // namespace

void guest_main(void*) {
    measure("policy_none_answer", answered_leaf);
    measure("policy_none_forward", forwarded_leaf);
    say("ready\n");
    while (cpuid(answered_leaf).eax == 0) {}
    measure("policy_answer", answered_leaf);
    measure("policy_forward", forwarded_leaf);
    power_off();
}
