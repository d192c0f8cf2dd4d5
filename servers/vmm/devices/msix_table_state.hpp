#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

struct MsixEntry {
    std::uint64_t address;
    std::uint32_t data;
    std::uint32_t control;  ///< bit 0: masked
};

/// The messages of a function as its guest has set them.
struct MsixTableState {
    static constexpr unsigned most = 128;
    MsixEntry entry[most];
    std::uint64_t pending[most / 64];  ///< came while they were masked
};

MARGAY_STATE(MsixTableState, "msix_table", 1, 1, section_flag::critical, entry, pending);

}  // namespace margay::vmm
