// What a VMM shares with the rest of the node, as the test sees it: in RAM, whoever runs.
#pragma once
#include <cstddef>
#include <random>
#include <span>

#include "proto/console.hpp"
#include "proto/vcpu_state.hpp"
#include "proto/vm_control.hpp"

namespace margay {
struct Domain;
}

namespace margay::host_node {

struct SharedMemory {
    std::span<std::byte> region, control, state, console, log;

    // Of the Domain of a VMM.
    static SharedMemory of(Domain& vmm);
};

// Puts there what no honest VMM does.
class Scribbler {
  public:
    explicit Scribbler(std::uint64_t seed) : random_{seed} {}

    // Outcome, phase, counts, texts without an end.
    void control(std::span<std::byte> page);
    // Heads and tails beyond the ring, contents, the doorbell.
    void ring(std::span<std::byte> channel);
    // The flight recorder and what is beside it.
    void state(std::span<std::byte> page);
    // A bit, a byte, a word, a stretch; in the header, the directory, the fields, the values.
    void region(std::span<std::byte> region);

    std::uint64_t pick(std::uint64_t count) { return random_() % count; }

  private:
    void word(std::span<std::byte> where);
    void any(std::span<std::byte> where);

    std::mt19937_64 random_;
};

}  // namespace margay::host_node
