// PCI functions as people see them.
#pragma once
#include "servers/init/control/operations.hpp"
#include "servers/init/function_text.hpp"
#include "servers/init/short_text.hpp"

namespace margay::init {

constexpr const char* to_text(PciReset r) {
    return r == PciReset::function ? "FLR" : r == PciReset::bus ? "bus" : "none";
}

// The first thing that keeps it from guests; empty: nothing.
inline Text<96> why_not(const DeviceInfo& d) {
    Text<96> why;
    why.set(to_text(d.obstacle));
    if (!why.empty()) return why;
    if (d.iommu[0] == 0)
        why.set("there is no IOMMU to confine it");
    else if (d.firmware != nullptr)
        write_firmware_use(why, *d.firmware);
    return why;
}

}  // namespace margay::init
