// The set of cores, filled at start.
#pragma once
#include "ukernel/core/core.hpp"

namespace margay {

// Gives the core the next id.
void register_core(Core& core);

}  // namespace margay
