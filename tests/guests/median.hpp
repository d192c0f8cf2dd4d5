// What measuring guests share.
#pragma once
#include <cstdint>

namespace margay::guest {

// Sorts them: insertion, as most are equal.
template <unsigned count>
std::uint64_t median(std::uint64_t (&samples)[count]) {
    for (unsigned i = 1; i < count; ++i) {
        const std::uint64_t v = samples[i];
        unsigned k = i;
        for (; k > 0 && samples[k - 1] > v; --k) samples[k] = samples[k - 1];
        samples[k] = v;
    }
    return samples[count / 2];
}

}  // namespace margay::guest
