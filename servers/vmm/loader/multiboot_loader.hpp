#pragma once

#include "servers/vmm/loader/guest_image.hpp"

namespace margay::vmm {

/// Put a Multiboot kernel into guest RAM (Multiboot 0.6.96), by the addresses of its header or as an ELF file, and start
/// it in protected mode with EBX at the information: memory sizes and map, command line, the initrd as the only
/// module, the loader's name. The command line begins with a word for the kernel's name, "kernel", as other loaders' do.
[[nodiscard]] LoadResult load_multiboot(std::span<std::byte> ram, const GuestImage& image) noexcept;

}  // namespace margay::vmm
