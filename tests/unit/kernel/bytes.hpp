// Tables of firmware, byte by byte.
#pragma once
#include <cstdint>
#include <vector>

namespace margay {

using Bytes = std::vector<std::uint8_t>;

// Appends a field, least significant byte first.
template <typename T>
Bytes& put(Bytes& b, T value) {
    for (unsigned i = 0; i < sizeof(T); ++i)
        b.push_back(static_cast<std::uint8_t>(std::uint64_t{value} >> 8 * i));
    return b;
}
inline Bytes operator+(Bytes a, const Bytes& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

}  // namespace margay
