#pragma once

#include "servers/vmm/loader/guest_image.hpp"

namespace margay::vmm {

/// Put a Linux kernel into guest RAM by the 64-bit boot protocol (Linux Documentation/x86/boot.rst, version
/// 2.12 and later) if it has that entry, by the 32-bit one (2.00 and later, loaded high) otherwise: kernel at its
/// preferred address (aligned up if it is relocatable and wants that); initrd as high as it may be; below 1 MiB page
/// tables, GDT, boot parameters with the memory map, command line.
[[nodiscard]] LoadResult load_linux(std::span<std::byte> ram, const GuestImage& image) noexcept;

}  // namespace margay::vmm
