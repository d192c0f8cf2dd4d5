// A VM's definition as JSON: what `define` takes, from what it made of it.
#pragma once
#include <string_view>

#include "servers/init/manifest.hpp"

namespace margay::init {

// Writes the keys that are not as they are by default, and the name. How many bytes; 0: there is not enough room.
unsigned write_definition(const VmConfig& config, char* to, unsigned room);

}  // namespace margay::init
