#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

/// What other vCPUs, and devices that they serve, have sent to a vCPU's local APIC. Bitmaps hold vector v in bit
/// v % 64 of word v / 64. Changed by atomic operations only, at any time and by anybody; not part of transactions.
struct InboxState {
    std::uint64_t requests[4];
    std::uint64_t level[4];  ///< of these, which are level-triggered
    std::uint64_t
        signals;  ///< bit 0 NMI, bit 1 INIT, bit 2 start-up with its vector in bits 15:8, bit 3 kick
    /// What transaction `taken_in` has taken out, and what its successor puts back if it was not committed.
    std::uint64_t taken_in;
    std::uint64_t taken_requests[4];
    std::uint64_t taken_level[4];
    std::uint64_t taken_signals;
};

MARGAY_STATE(InboxState, "inbox", 1, 1, section_flag::critical, requests, level, signals, taken_in,
             taken_requests, taken_level, taken_signals);

}  // namespace margay::vmm
