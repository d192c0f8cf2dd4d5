// The first Domain: init, with authority over everything that the kernel does not need itself.
#pragma once
#include "ukernel/arch/x86_64/acpi.hpp"
#include "ukernel/boot/multiboot2.hpp"
#include "ukernel/boot/range_list.hpp"

namespace margay {

// Loads the module named "init" and makes its thread ready on this core. boot_begin: start of the boot
// allocator's range. Ends boot-time allocation. Halts with a message if init is missing or malformed.
void create_init(const BootData& boot, const acpi::Platform& platform, const MemoryMap& memory,
                 RangeList& free_ram, HostPhys boot_begin);

}  // namespace margay
