// A counter beside the time-stamp counter, as near as it can be had: the processor may lose time between two reads, to
// firmware (SMM) or to whoever emulates it.
#pragma once
#include <cstdint>

#include "ukernel/arch/x86_64/cpu.hpp"

namespace margay {

struct CounterSample {
    std::uint32_t count;
    std::uint64_t tsc;
};

// The closest of some.
template <class Read>
CounterSample sample_counter(Read read) {
    CounterSample best{};
    std::uint64_t closest = ~0ull;
    for (unsigned i = 0; i < 8; ++i) {
        const std::uint64_t before = cpu::rdtsc();
        const std::uint32_t count = read();
        const std::uint64_t width = cpu::rdtsc() - before;
        if (width >= closest) continue;
        closest = width;
        best = {count, before + width / 2};
    }
    return best;
}

}  // namespace margay
