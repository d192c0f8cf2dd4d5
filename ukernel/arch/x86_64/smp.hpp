// Bringing cores up.
#pragma once
#include "ukernel/arch/x86_64/acpi.hpp"

namespace margay::smp {

// The core that the boot loader started us on.
void start_this_core(const acpi::Platform& platform);
// All others, one after the other; their time-stamp counters are compared with this core's. One that does
// not answer is left out. trampoline: a free page of RAM
// below 640 KiB, for their first instructions.
void start_other_cores(const acpi::Platform& platform, HostPhys trampoline);

}  // namespace margay::smp
