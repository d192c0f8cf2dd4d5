// AMD's IOMMUs, as an IVRS describes them.
#pragma once
#include "ukernel/arch/x86_64/acpi.hpp"
#include "ukernel/arch/x86_64/iommu/driver.hpp"

namespace margay::iommu::amd_vi {

// Takes them over; null: there is none.
Driver* start(const acpi::Platform& platform);

}  // namespace margay::iommu::amd_vi
