#pragma once

#include "proto/vmm.hpp"
#include "servers/vmm/state/guest_words.hpp"
#include "servers/vmm/state/section.hpp"

#include <cstddef>
#include <cstdint>

/// The device-state region: everything of the VM that outlives the VMM and is not in the kernel.
///
/// It describes itself, so that another build of the VMM can take over: a half holds a directory of
/// sections, for each a table of its fields and a slot. One half is active. A build whose layout is the one
/// found uses it in place; any other builds its own layout in the other half and then makes that active.
///
/// The first region of a VM holds what its vCPUs share and what is vCPU 0's; each further vCPU has a region of its
/// own behind it.
namespace margay::vmm {

inline constexpr std::uint64_t region_magic = 0x6574'6174'7379'616d;  // "maystate"
inline constexpr std::uint32_t region_format = 1;
inline constexpr unsigned max_sections = 40;

struct RegionHeader {
    std::uint64_t magic;   ///< 0: blank. Written last when a VM is new
    std::uint32_t format;  ///< of everything that is not described inside
    std::uint32_t active;  ///< which half: 0 or 1
    GuestWordUndo guest_word[guest_word_undos];
    std::uint64_t board_lock;  ///< see BoardLock; in the region of vCPU 0
    std::uint64_t reserved[7];
};
static_assert(sizeof(RegionHeader) == 128);

inline constexpr std::size_t half_bytes = (device_state_bytes - sizeof(RegionHeader)) / 2;

struct RegionHalf {
    std::uint32_t sections;  ///< entries of the directory in use, 0..max_sections
    std::uint32_t used;      ///< bytes from the beginning of the half, the directory included
    std::uint64_t reserved;
    SectionEntry directory[max_sections];
    alignas(8) std::byte content[half_bytes - 16 - sizeof(SectionEntry) * max_sections];

    [[nodiscard]] std::byte* at(std::uint32_t offset) noexcept {
        return reinterpret_cast<std::byte*>(this) + offset;
    }
    [[nodiscard]] const std::byte* at(std::uint32_t offset) const noexcept {
        return reinterpret_cast<const std::byte*>(this) + offset;
    }
};
static_assert(sizeof(RegionHalf) == half_bytes);

inline constexpr std::uint32_t content_at = offsetof(RegionHalf, content);

struct Region {
    RegionHeader header;
    RegionHalf half[2];

    [[nodiscard]] RegionHalf& active() noexcept { return half[header.active & 1]; }
    [[nodiscard]] const RegionHalf& active() const noexcept { return half[header.active & 1]; }
};
static_assert(sizeof(Region) == device_state_bytes);

}  // namespace margay::vmm
