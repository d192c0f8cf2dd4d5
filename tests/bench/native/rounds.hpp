// Rounds of work timed by the time-stamp counter, for programs that two processors share. Not by the kernel's clock: it
// measures how fast the counter runs at each boot, to a few percent on a busy host, and that error would be the ratio's.
//
// The least of many short rounds is what counts: on a busy host some are not interrupted by others.
#ifndef MARGAY_BENCH_NATIVE_ROUNDS_HPP
#define MARGAY_BENCH_NATIVE_ROUNDS_HPP

#include <x86intrin.h>

#include <cstdint>
#include <cstdio>
#include <vector>

// Says the counter's value now; who reads it looks at a clock of his own, and so knows how fast the counter runs.
inline void say_clock() {
    std::printf("\nclock %llu\n", static_cast<unsigned long long>(__rdtsc()));
    std::fflush(stdout);
}

// Prints the ticks of each round: after all of them, as each character on a console of a guest is an exit.
template <typename Work>
void time_rounds(const char* name, int rounds, Work work) {
    std::vector<std::uint64_t> ticks(static_cast<std::size_t>(rounds));
    work();  // to warm up
    for (std::uint64_t& of_round : ticks) {
        const std::uint64_t begin = __rdtsc();
        work();
        of_round = __rdtsc() - begin;
    }
    std::printf("\nrounds %s", name);
    for (const std::uint64_t n : ticks) std::printf(" %llu", static_cast<unsigned long long>(n));
    std::printf("\n");
    std::fflush(stdout);
}

#endif
