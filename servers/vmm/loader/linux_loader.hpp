#pragma once

#include "servers/vmm/loader/load_error.hpp"
#include "servers/vmm/loader/start_state.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace margay::vmm {

struct LinuxImage {
    std::span<const std::byte> kernel;  ///< a bzImage
    std::span<const std::byte> initrd;  ///< may be empty
    std::string_view command_line;      ///< without a terminating zero
    std::uint64_t rsdp;                 ///< guest-physical address of the ACPI RSDP; 0: none
    /// Counts the bytes of kernel and initrd that are in place, while they are moved; null: nobody looks.
    std::atomic<std::uint64_t>* placed = nullptr;
};

/// What load_linux() gives: `error` none and the start state, or an error and nothing written but RAM.
struct LoadResult {
    LoadError error;
    StartState start;
};

/// Put a Linux kernel into guest RAM by the 64-bit boot protocol (Linux Documentation/x86/boot.rst, version
/// 2.12 and later): kernel at its preferred address (aligned up if it is relocatable and wants that); initrd as
/// high as it may be; below 1 MiB page tables, GDT, boot parameters with the memory map, command line.
/// `ram` is all of the guest's RAM in RamLayout order. ACPI tables (acpi/tables.hpp) may be written before
/// or after.
[[nodiscard]] LoadResult load_linux(std::span<std::byte> ram, const LinuxImage& image) noexcept;

}  // namespace margay::vmm
