// The set of cores, filled at start.
#pragma once
#include "ukernel/core/core.hpp"

namespace margay {

// Where they are listed: room for as many as will be registered, for ever.
void reserve_cores(Core** room);
// Gives the core the next id.
void register_core(Core& core);

}  // namespace margay
