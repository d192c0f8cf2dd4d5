// The frequency of the time-stamp counter, measured once at start.
#pragma once
#include <cstdint>

namespace margay {

// kHz. Measures against the ACPI PM timer (port; 0: none) or else the 8254. Every loop is bounded;
// 1 GHz is assumed if nothing can be measured.
std::uint64_t measure_tsc_khz(std::uint16_t pm_timer_port);

}  // namespace margay
