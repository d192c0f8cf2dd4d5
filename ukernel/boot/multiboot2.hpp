// The boot information of Multiboot2 (§3.6), copied out of the loader's memory.
#pragma once
#include <cstdint>

#include "support/address.hpp"

namespace margay {

constexpr std::uint32_t multiboot2_magic = 0x36d76289;

struct BootModule {
    HostPhys begin, end;  // end: exact, not page-aligned
    char name[32];
};
enum class RamKind : std::uint8_t { free, firmware };
struct BootRam {
    HostPhys begin, end;  // page-aligned, shrunk to whole pages
    RamKind kind;
};

struct BootData {
    static constexpr unsigned max_modules = 32;
    static constexpr unsigned max_ram = 64;
    BootModule modules[max_modules];
    unsigned module_count = 0;
    BootRam ram[max_ram];
    unsigned ram_count = 0;
    HostPhys rsdp;  // of a copy in the boot information; 0 if none
    std::uint8_t rsdp_copy[40] = {};
    char command_line[128] = {};
    HostPhys begin, end;  // the boot information itself
};

// Parses `size` bytes at `info` (mapped). `self`: its physical address. False if it is malformed.
bool parse_multiboot2(const std::uint8_t* info, HostPhys self, BootData& data);

}  // namespace margay
