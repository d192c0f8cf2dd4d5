// Whose transaction it is.
#pragma once
#include <cstdint>

namespace margay::iommu {

// A PCI function as the source of a transaction: bus 15:8, device 7:3, function 2:0.
using Requester = std::uint16_t;

}  // namespace margay::iommu
