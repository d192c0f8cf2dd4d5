#pragma once

#include "servers/vmm/loader/guest_image.hpp"

namespace margay::vmm {

/// Put an ELF kernel with Xen's PVH note into guest RAM and start it as Xen's docs/misc/pvh.pandoc says: protected mode,
/// EBX at a start info of version 1 with the memory map, the command line, the RSDP, and the initrd as the only module.
[[nodiscard]] LoadResult load_pvh(std::span<std::byte> ram, const GuestImage& image) noexcept;

}  // namespace margay::vmm
