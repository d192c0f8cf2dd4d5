// PCI functions as people see them.
#pragma once
#include "servers/init/control/operations.hpp"
#include "servers/init/function_text.hpp"

namespace margay::init {

constexpr const char* to_text(PciReset r) {
    return r == PciReset::function ? "FLR" : r == PciReset::bus ? "bus" : "none";
}

// The first thing that keeps it from guests.
inline const char* why_not(const DeviceInfo& d) {
    if (const char* obstacle = to_text(d.obstacle); obstacle[0] != 0) return obstacle;
    return d.iommu[0] == 0 ? "there is no IOMMU to confine it" : "";
}

}  // namespace margay::init
