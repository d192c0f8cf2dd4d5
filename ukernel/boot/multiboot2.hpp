// The boot information of Multiboot2 (§3.6), copied out of the loader's memory.
#pragma once
#include <cstdint>

#include "support/address.hpp"
#include "ukernel/memory/memory_map.hpp"

namespace margay {

constexpr std::uint32_t multiboot2_magic = 0x36d76289;

struct BootModule {
    HostPhys begin, end;  // end: exact, not page-aligned
    char name[28];
};
struct BootData {
    static constexpr unsigned max_modules = 32;
    static constexpr unsigned max_memory_entries = 2048;
    BootModule modules[max_modules];
    unsigned module_count = 0;
    unsigned modules_left_out = 0;  // there are more than max_modules
    FirmwareMap memory;             // in the loader's memory
    std::uint8_t rsdp[40] = {};     // copy of the ACPI root pointer; all zero if there is none
    char command_line[128] = {};
    HostPhys begin, end;  // the boot information itself
};

// Parses the information at `info`, which begins with its size. `self`: its physical address. False if it
// is malformed or has no memory map, or one of more than max_memory_entries.
bool parse_multiboot2(const std::uint8_t* info, HostPhys self, BootData& data);

}  // namespace margay
