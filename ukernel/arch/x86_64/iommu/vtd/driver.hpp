// Intel's IOMMUs, as a DMAR describes them.
#pragma once
#include "ukernel/arch/x86_64/acpi.hpp"
#include "ukernel/arch/x86_64/iommu/driver.hpp"

namespace margay::iommu::vtd {

// Takes them over; null: there is none that can be used.
Driver* start(const acpi::Platform& platform);

}  // namespace margay::iommu::vtd
