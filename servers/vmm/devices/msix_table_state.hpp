#pragma once

#include "proto/guest_function.hpp"
#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

struct MsixEntry {
    std::uint64_t address;
    std::uint32_t data;
    std::uint32_t control;  ///< bit 0: masked
};

/// The messages of all functions of a VM as its guest has set them, by their numbers in the VM.
struct MsixTableState {
    MsixEntry entry[max_guest_messages];
    std::uint64_t pending;  ///< bit i: message i came while it was masked
};
static_assert(max_guest_messages <= 64);

// There only where the VM has functions: see vm_layout().
MARGAY_STATE(MsixTableState, "msix_table", 1, 1, section_flag::critical, entry, pending);

}  // namespace margay::vmm
