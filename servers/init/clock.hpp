// The node's wall clock: the CMOS RTC (MC146818).
#pragma once
#include <cstdint>

#include "proto/kernel.hpp"

namespace margay::init {

// Unix time in seconds. `ports` must cover 0x70 and 0x71.
std::uint64_t read_clock(Slot ports);

}  // namespace margay::init
