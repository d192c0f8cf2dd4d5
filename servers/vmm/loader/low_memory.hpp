#pragma once

#include "servers/vmm/loader/guest_image.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace margay::vmm {

/// What the loaders keep below 1 MiB. A kernel that is loaded lies above.
namespace low_memory {
inline constexpr std::uint64_t parameters = 0x1'0000;
inline constexpr std::uint64_t command_line = 0x1'1000;
inline constexpr std::uint64_t command_line_room = 0xf000;  ///< its zero included
inline constexpr std::uint64_t page_tables = 0x2'0000;      // level 4, level 3, four of level 2
inline constexpr std::uint64_t gdt = 0x3'0000;
inline constexpr std::uint64_t stack_top = 0x4'0000;
inline constexpr std::uint64_t end = 0x10'0000;
}  // namespace low_memory

constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) {
    return (value + alignment - 1) & ~(alignment - 1);
}

/// Copies in pieces, between which a supervisor sees that it goes on. Both lie where the caller says.
void move_in(std::span<std::byte> to, std::span<const std::byte> from,
             std::atomic<std::uint64_t>* placed) noexcept;

/// Writes a text and its zero.
void write_text(std::span<std::byte> ram, std::uint64_t at, std::string_view text) noexcept;

/// What programs look up in the data area that a PC's firmware leaves: COM1's port, where memory below 640 KiB ends.
/// Xen puts its start code for processors below that, whatever it is told by its loader.
void write_bios_data(std::span<std::byte> ram) noexcept;

/// The part of the start state that is the same whoever starts in protected mode: flat segments of 4 GiB, no paging.
[[nodiscard]] StartState start_protected(std::span<std::byte> ram) noexcept;
/// Likewise in long mode, with the first 4 GiB mapped one to one.
[[nodiscard]] StartState start_long(std::span<std::byte> ram) noexcept;

}  // namespace margay::vmm
