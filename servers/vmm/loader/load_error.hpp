#pragma once

#include <cstdint>
#include <string_view>

namespace margay::vmm {

enum class LoadError : std::uint8_t {
    none,
    // whatever it is
    unknown_protocol,
    command_line_too_long,
    kernel_too_low,
    kernel_does_not_fit,
    initrd_does_not_fit,
    ram_too_small,
    bad_entry,
    // Linux
    kernel_too_short,
    bad_boot_flag,
    bad_magic,
    protocol_too_old,
    short_header,
    not_bzimage,
    bad_setup_size,
    truncated,
    bad_alignment,
    bad_init_size,
    // Multiboot
    bad_multiboot_checksum,
    multiboot_unknown_flags,
    multiboot_needs_video,
    multiboot_truncated,
    multiboot_bad_addresses,
    multiboot_no_addresses,
    // ELF, and Xen's PVH
    elf_truncated,
    elf_not_for_x86,
    elf_bad_segment,
    elf_no_segments,
    no_pvh_note,
    bad_pvh_note,
};

/// One sentence for the person who chose the image.
[[nodiscard]] std::string_view to_text(LoadError error) noexcept;

}  // namespace margay::vmm
