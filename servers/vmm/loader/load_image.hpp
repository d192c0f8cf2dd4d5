#pragma once

#include "servers/vmm/loader/guest_image.hpp"

namespace margay::vmm {

enum class BootProtocol : std::uint8_t { linux, multiboot, pvh, unknown };

/// Which protocol a kernel file speaks. A Linux boot header comes before a Multiboot header, and that before the PVH
/// note of an ELF file (Xen has both, and takes the note for a sign of Xen below it).
[[nodiscard]] BootProtocol protocol_of(std::span<const std::byte> kernel) noexcept;

/// Put a kernel into guest RAM by its own protocol. `ram` is all of the guest's RAM in RamLayout order. ACPI tables
/// (acpi/tables.hpp) may be written before or after.
[[nodiscard]] LoadResult load_image(std::span<std::byte> ram, const GuestImage& image) noexcept;

}  // namespace margay::vmm
