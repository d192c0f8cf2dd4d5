// Makes a function still and, where that can be done, new: no DMA, no interrupts, every register but its BARs and what firmware has tuned as after power-on.
// In steps that never wait; each can be taken again by a server that comes after one who died.
#pragma once
#include "servers/pci/topology.hpp"

namespace margay::pci {

// Milliseconds.
namespace reset_time {
constexpr std::uint64_t wake = 10;       // out of D3hot (PCI power management 1.2 §5.4)
constexpr std::uint64_t drain = 1000;    // at most, until what was begun has ended
constexpr std::uint64_t function = 100;  // a function level reset (§6.6.2)
constexpr std::uint64_t hold = 2;        // a bus is held in reset
constexpr std::uint64_t bus = 100;       // then nobody looks at it (§6.6.1)
constexpr std::uint64_t back = 1000;     // at most, until the function can be seen again
constexpr std::uint64_t look = 1;        // between two looks
}  // namespace reset_time

// In memory that outlives the server; all zero when there is nothing to do. Times are TSC.
struct ResetState {
    enum class Step : std::uint8_t {
        begin,
        power,  // it comes out of a sleep
        drain,  // what it has begun ends
        hold,   // its bus is in reset
        back,   // it is waited for
        done,
        did_not_drain,
        lost,
    };
    Step step = Step::begin;
    std::uint64_t due = 0;  // when to go on
    std::uint64_t end = 0;  // how long to go on with this step
    // What firmware has tuned and a reset forgets: device control (the largest payload must be that of what is above), link
    // control, device control 2, and the registers of cache line and latency.
    bool has_kept = false;
    std::uint16_t kept_device = 0, kept_link = 0, kept_device2 = 0, kept_timing = 0;

    bool is_over() const { return step >= Step::done; }
};

// Takes the steps that are due at `now`; state.due says when the next one is.
void go_on(ResetState& state, Config& config, const Topology& topology, unsigned index,
           std::uint64_t now, std::uint64_t ticks_per_ms);

}  // namespace margay::pci
