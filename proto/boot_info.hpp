// What the kernel tells init: one read-only block of pages at boot_info_address, and the capabilities
// already in init's table.
#pragma once
#include <cstdint>

#include "proto/kernel.hpp"

namespace margay {

constexpr std::uint64_t boot_info_magic = 0x796167'72614d;  // "Margay"
constexpr std::uint64_t boot_info_address = 0x1000'0000;
constexpr std::uint64_t boot_info_bytes = 9 * page_size;
constexpr unsigned boot_extents = 512;
constexpr unsigned boot_firmware_memory = 64;

// Slots that init finds filled.
namespace init_slot {
constexpr Slot domain = 1;
constexpr Slot thread = 2;
constexpr Slot irq_control = 3;
constexpr Slot ports = 4;
constexpr Slot device_control = 5;
constexpr Slot first_core = 8;  // one per core, up to max_cores
constexpr Slot first_extent = first_core + max_cores;
constexpr Slot first_free = first_extent + boot_extents;
}  // namespace init_slot
constexpr std::uint64_t init_slots = 8192;
constexpr std::uint64_t init_mappings = 4096;

enum class ExtentUse : std::uint32_t { free_ram = 0, module = 1, device = 2, firmware = 3 };

struct BootExtent {
    std::uint64_t base, size;  // bytes, page-aligned; a module's exact length is `length`
    std::uint64_t length;
    ExtentUse use;
    Slot slot;
    std::uint32_t node;  // free RAM: its NUMA node; no extent lies in two
    char name[28];       // modules: the name given in the boot configuration
};

// Memory that firmware uses through a PCI function: that one stays with the node.
struct BootFirmwareMemory {
    std::uint64_t base, size;
    std::uint32_t requester;  // bus << 8, device << 3, function
    std::uint32_t unused;
};

struct BootInfo {
    std::uint64_t magic;
    std::uint32_t abi;
    std::uint32_t cores;
    std::uint64_t tsc_khz;
    std::uint32_t virtualization;  // 1: SVM usable, 0: none
    std::uint32_t extents;
    std::uint8_t rsdp[40];  // copy of the ACPI root pointer; all zero if there is none
    char processor[48];
    char command_line[128];
    std::uint64_t iommu;  // what confines devices: 1: AMD-Vi, 2: VT-d, 0: nothing does
    BootExtent extent[boot_extents];
    std::uint32_t remaps_interrupts;  // 1: interrupts of devices are confined as well
    std::uint32_t firmware_memories;  // how many
    BootFirmwareMemory firmware_memory[boot_firmware_memory];
};
static_assert(sizeof(BootExtent) == 64);
static_assert(sizeof(BootFirmwareMemory) == 24);
static_assert(sizeof(BootInfo) <= boot_info_bytes);

}  // namespace margay
