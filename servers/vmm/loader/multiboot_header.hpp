#pragma once

#include "servers/vmm/loader/load_error.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace margay::vmm {

enum class MultibootFound : std::uint8_t { nothing, bad_checksum, header };

/// Where a kernel file has its Multiboot header (Multiboot 0.6.96 §3.1): in its first 8192 bytes, at a multiple of 4.
struct MultibootPlace {
    MultibootFound found;
    std::size_t offset;
};
[[nodiscard]] MultibootPlace find_multiboot_header(std::span<const std::byte> kernel) noexcept;

/// A checked header.
struct MultibootHeader {
    LoadError error;
    bool has_addresses;  ///< otherwise the file is an ELF image
    std::size_t code_offset;
    std::uint64_t load_address;
    std::uint64_t load_size;  ///< in the file from code_offset on
    std::uint64_t size;       ///< in memory, ≥ load_size
    std::uint64_t entry;      ///< in what is loaded
};
/// `offset` is what find_multiboot_header() found.
[[nodiscard]] MultibootHeader parse_multiboot_header(std::span<const std::byte> kernel,
                                                     std::size_t offset) noexcept;

}  // namespace margay::vmm
