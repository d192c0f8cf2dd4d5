// Bytes that a line has given and nobody has taken yet.
#pragma once
#include <cstdint>

#include "proto/kernel.hpp"

namespace margay::console {

struct Received {
    std::uint64_t bytes[2] = {};
    // How many were taken, and, further up, how many there are: one store says both.
    std::uint32_t place = 0;

    static constexpr unsigned count_shift = 8;
    static constexpr std::uint32_t none_of(unsigned count) { return count << count_shift; }
    unsigned count() const { return place >> count_shift; }
    bool is_empty() const { return (place & 0xff) >= count(); }
    char front() const {
        const unsigned i = place % port_burst;
        return static_cast<char>(bytes[i / 8] >> i % 8 * 8);
    }
    // As a process before this one left it.
    void make_sound() {
        if (count() > port_burst) place = 0;
    }
};

}  // namespace margay::console
