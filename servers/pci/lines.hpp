// Which interrupt line a function has.
#pragma once
#include "servers/pci/topology.hpp"

namespace margay::pci {

// The global system interrupt of its INTx. Firmware says it in AML, which nobody here interprets: known is QEMU's q35 only.
// 0: it has none, or it is not known.
unsigned line_of(Config& config, const Topology& topology, unsigned index);

}  // namespace margay::pci
