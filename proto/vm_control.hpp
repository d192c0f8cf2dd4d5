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

struct VmControl {
    std::atomic<VmOutcome> outcome;
    std::uint32_t reserved;
    std::uint64_t exits;        // handled so far
    std::uint64_t first_entry;  // TSC when the guest was entered for the first time
    char reason[104];           // text, zero-terminated
};

}  // namespace margay
