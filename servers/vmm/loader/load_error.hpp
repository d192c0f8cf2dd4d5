#pragma once

#include <cstdint>
#include <string_view>

namespace margay::vmm {

enum class LoadError : std::uint8_t {
    none,
    kernel_too_short,
    bad_boot_flag,
    bad_magic,
    protocol_too_old,
    not_bzimage,
    no_64bit_entry,
    bad_setup_size,
    truncated,
    bad_alignment,
    bad_init_size,
    command_line_too_long,
    kernel_does_not_fit,
    initrd_does_not_fit,
    ram_too_small,
};

/// One sentence for the person who chose the image.
[[nodiscard]] std::string_view to_text(LoadError error) noexcept;

}  // namespace margay::vmm
