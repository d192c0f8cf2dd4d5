#pragma once

#include "servers/vmm/loader/load_error.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace margay::vmm {

/// Of the 64-bit entry from the beginning of the loaded kernel (Linux Documentation/x86/boot.rst).
inline constexpr std::size_t linux_entry_64 = 0x200;

/// Offsets in a bzImage's first sector and, the same, in the boot parameters ("zero page"): Linux
/// Documentation/x86/boot.rst and zero-page.rst.
namespace linux_offset {
inline constexpr std::size_t extended_memory = 0x002;  // u16, KiB from 1 MiB; boot parameters only
inline constexpr std::size_t old_line_magic = 0x020;   // u16, for protocols before 2.02
inline constexpr std::size_t old_line_offset = 0x022;  // u16, from old_line_base
inline constexpr std::size_t alternative_memory =
    0x1e0;                                          // u32, KiB from 1 MiB; boot parameters only
inline constexpr std::size_t rsdp = 0x070;          // u64, boot parameters only
inline constexpr std::size_t e820_entries = 0x1e8;  // u8, boot parameters only
inline constexpr std::size_t setup_sectors = 0x1f1;
inline constexpr std::size_t size_paragraphs = 0x1f4;
inline constexpr std::size_t boot_flag = 0x1fe;
inline constexpr std::size_t header_length = 0x201;  // from 0x202
inline constexpr std::size_t magic = 0x202;
inline constexpr std::size_t version = 0x206;
inline constexpr std::size_t loader_type = 0x210;
inline constexpr std::size_t load_flags = 0x211;
inline constexpr std::size_t initrd_address = 0x218;
inline constexpr std::size_t initrd_size = 0x21c;
inline constexpr std::size_t command_line = 0x228;
inline constexpr std::size_t initrd_limit = 0x22c;
inline constexpr std::size_t alignment = 0x230;
inline constexpr std::size_t relocatable = 0x234;
inline constexpr std::size_t extended_load_flags = 0x236;
inline constexpr std::size_t command_line_size = 0x238;
inline constexpr std::size_t setup_data = 0x250;
inline constexpr std::size_t preferred_address = 0x258;
inline constexpr std::size_t init_size = 0x260;
inline constexpr std::size_t header_end = 0x264;    // of protocol 2.10 and later, at least
inline constexpr std::size_t header_limit = 0x290;  // boot parameters continue with something else
inline constexpr std::size_t e820_table = 0x2d0;    // boot parameters only
inline constexpr std::size_t boot_parameters = 0x1000;
}  // namespace linux_offset

/// A checked bzImage header.
struct LinuxHeader {
    LoadError error;
    std::size_t header_end;   ///< end of the header in the file, header_end..header_limit
    std::size_t code_offset;  ///< of the protected-mode part in the file
    std::size_t code_size;    ///< > 0, with a 64-bit entry > 0x200; inside the file
    std::uint64_t preferred_address;
    std::uint64_t init_size;          ///< memory needed from the load address on, ≥ code_size
    std::uint64_t alignment;          ///< power of two
    std::uint64_t initrd_limit;       ///< highest address of an initrd's last byte
    std::uint64_t command_line_size;  ///< longest command line without its zero
    std::uint16_t version;            ///< of the protocol, 0x0200 and later
    bool relocatable;
    bool has_64bit_entry;  ///< otherwise it is entered in protected mode, at its beginning
};

/// Whether it is meant to be a bzImage.
[[nodiscard]] bool has_linux_header(std::span<const std::byte> kernel) noexcept;

[[nodiscard]] LinuxHeader parse_linux_header(std::span<const std::byte> kernel) noexcept;

}  // namespace margay::vmm
