// Devices by virtio that do DMA past the IOMMU: emulators have them, unless they offer VIRTIO_F_ACCESS_PLATFORM (Virtual I/O
// Device 1.2 §6). Found out by configuration space alone (§4.1.4.9), while the function is nobody's.
#pragma once
#include "servers/pci/function.hpp"

namespace margay::pci {

// A virtio device that does not say that its DMA goes where other devices' goes.
bool bypasses_iommu(Config& config, const Function& f);

}  // namespace margay::pci
