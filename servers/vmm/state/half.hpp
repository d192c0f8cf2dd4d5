#pragma once

#include "servers/vmm/state/layout.hpp"

#include <span>

/// Walking over a half whose directory has been checked.
namespace margay::vmm {

[[nodiscard]] inline std::span<const SectionEntry> sections_of(const RegionHalf& half) noexcept {
    return {half.directory, half.sections};
}

[[nodiscard]] inline std::span<const StateField> fields_of(const RegionHalf& half,
                                                           const SectionEntry& section) noexcept {
    return {reinterpret_cast<const StateField*>(half.at(section.fields)), section.field_count};
}

[[nodiscard]] inline std::span<const StateField> fields_of(const Layout& layout,
                                                           const SectionEntry& section) noexcept {
    return layout.fields.subspan((section.fields - content_at) / sizeof(StateField),
                                 section.field_count);
}

/// The parts of a section's slot.
[[nodiscard]] inline std::uint64_t& saved_in(RegionHalf& half,
                                             const SectionEntry& section) noexcept {
    return *reinterpret_cast<std::uint64_t*>(half.at(section.slot));
}
[[nodiscard]] inline std::byte* live(RegionHalf& half, const SectionEntry& section) noexcept {
    return half.at(section.slot + 8);
}
[[nodiscard]] inline const std::byte* live(const RegionHalf& half,
                                           const SectionEntry& section) noexcept {
    return half.at(section.slot + 8);
}
[[nodiscard]] inline const std::byte* saved(const RegionHalf& half,
                                            const SectionEntry& section) noexcept {
    return half.at(section.slot + 8 + section.size);
}

[[nodiscard]] inline bool is_leftover(const SectionEntry& section) noexcept {
    return (section.flags & section_flag::leftover) != 0;
}

/// The section of that name, or null.
[[nodiscard]] inline const SectionEntry* find_section(std::span<const SectionEntry> sections,
                                                      const char (&name)[16],
                                                      bool leftover = false) noexcept {
    for (const auto& section : sections) {
        if (is_leftover(section) == leftover && is_same_name(section.name, name)) {
            return &section;
        }
    }
    return nullptr;
}

[[nodiscard]] inline const StateField* find_field(std::span<const StateField> fields,
                                                  const char (&name)[24]) noexcept {
    for (const auto& field : fields) {
        if (is_same_name(field.name, name)) {
            return &field;
        }
    }
    return nullptr;
}

}  // namespace margay::vmm
