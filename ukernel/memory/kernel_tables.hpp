// The kernel's half of every address space: image, direct map of RAM, interrupt controllers.
#pragma once
#include <cstdint>

#include "support/address.hpp"
#include "ukernel/memory/memory_map.hpp"

namespace margay::kernel_tables {

// Builds them with frames from the boot allocator and loads them. `memory` must stay: its free ranges are
// the RAM that the kernel maps. Text is read-only and executable, everything else is no-execute.
void build(const MemoryMap& memory);
// The root that cores use while no Domain is loaded.
HostPhys root();
// Copies the kernel's entries into a fresh root of a Domain.
void share(std::uint64_t* domain_root);
// Maps one device page uncached for the kernel (before any Domain exists, or within the window that
// is shared already).
void* map_device(HostPhys page);
// Firmware data outside RAM as the memory map tells it (many put ACPI tables there): read-only, for as
// long as the kernel runs. Null if the window is used up or there is no such address. The bytes' pages are
// mapped whole.
const void* map_firmware(HostPhys begin, std::uint64_t bytes);
// One executable page at its physical address, while other cores start.
void identity_map(HostPhys page, bool present);
bool is_mapped(std::uint64_t address);
bool is_ram(HostPhys address);

}  // namespace margay::kernel_tables
