// The page that a VMM shares with the supervisor of its VM.
#pragma once
#include <atomic>
#include <cstdint>

namespace margay {

enum class VmOutcome : std::uint32_t {
    running = 0,
    powered_off = 1,  // the guest asked for it
    reset = 2,        // the guest asked for it
    failed = 3,       // see reason
};

// How far the VMM has come in taking over its VM.
enum class VmmPhase : std::uint32_t {
    starting = 0,
    serving = 1,  // it waits for exits
    refused = 2,  // it cannot take over this VM's state: see reason
};

struct VmControl {
    std::atomic<VmOutcome> outcome;
    std::atomic<VmmPhase> phase;
    std::uint64_t exits;        // handled so far
    std::uint64_t first_entry;  // TSC when the guest was entered for the first time
    std::uint64_t rolled_back;  // half handled exits that successors have undone
    char reason[104];           // text, zero-terminated
};

}  // namespace margay
