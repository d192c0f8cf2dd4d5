#pragma once

#include "servers/vmm/state/field.hpp"

#include <cstdint>

namespace margay::vmm {

/// The interrupt last handed to hardware and not reported taken.
struct OfferState {
    enum class Source : std::uint8_t { none, local_apic, pic };
    Source source;
    std::uint8_t vector;
    std::uint8_t reserved[6];
};

MARGAY_STATE(OfferState, "offer", 1, 1, section_flag::critical, source, vector, reserved);

}  // namespace margay::vmm
