// Turning the node off.
#pragma once
#include <cstdint>

#include "servers/init/firmware.hpp"

namespace margay::init {

// exit_port: of a debug-exit device that tests run with (0: none): it is told whether all went well.
// Otherwise ACPI's soft-off, as firmware described it; if that is not possible, the node says so and stays idle.
[[noreturn]] void power_off(Node& node, const SoftOff& off, std::uint16_t exit_port, bool good);

}  // namespace margay::init
