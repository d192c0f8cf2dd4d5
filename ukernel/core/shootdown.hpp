// TLB shootdown, which is also a grace period: when it returns, every core in the mask has left
// whatever it was doing in the kernel and has no translation older than the call.
#pragma once
#include "ukernel/object/map_target.hpp"

namespace margay {

void shootdown(CoreMask cores);

}  // namespace margay
