#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace margay::vmm {

namespace section_flag {
inline constexpr std::uint32_t critical =
    1;  ///< a build that does not know the section must refuse
/// Fields of the section of this name that the build which laid out the region does not know: kept for one
/// that does.
inline constexpr std::uint32_t leftover = 2;
inline constexpr std::uint32_t constant = 4;  ///< never edited once the VM is made: see seal.hpp
}  // namespace section_flag

/// One field of a section, as the region describes it.
struct StateField {
    char name[24];         ///< the rest is zero
    std::uint32_t offset;  ///< from the beginning of the section, bytes
    std::uint32_t size;    ///< bytes, not 0
};
static_assert(sizeof(StateField) == 32);

/// One section, as the region describes it. Offsets count from the beginning of the half; multiples of 8.
struct SectionEntry {
    char name[16];  ///< the rest is zero; unique together with flag `leftover`
    std::uint32_t version;
    std::uint32_t oldest_reader;  ///< builds with an older version of the section must refuse
    std::uint32_t flags;
    std::uint32_t slot;    ///< offset of {saved_in, live, saved}
    std::uint32_t size;    ///< of live, bytes, a multiple of 8
    std::uint32_t fields;  ///< offset of its StateFields
    std::uint32_t field_count;
    std::uint32_t reserved;
};
static_assert(sizeof(SectionEntry) == 48);

/// By words, since names are looked for often when a region is converted.
template <std::size_t bytes>
[[nodiscard]] bool is_same_name(const char (&a)[bytes], const char (&b)[bytes]) noexcept {
    static_assert(bytes % 8 == 0);
    std::uint64_t differences = 0;
    for (std::size_t i = 0; i < bytes; i += 8) {
        std::uint64_t left = 0, right = 0;
        std::memcpy(&left, a + i, 8);
        std::memcpy(&right, b + i, 8);
        differences |= left ^ right;
    }
    return differences == 0;
}

/// Bytes of a slot whose live part has `size` bytes.
[[nodiscard]] constexpr std::uint64_t slot_bytes(std::uint64_t size) noexcept {
    return 8 + 2 * size;
}

}  // namespace margay::vmm
