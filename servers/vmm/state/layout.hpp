#pragma once

#include "servers/vmm/state/field.hpp"
#include "servers/vmm/state/region.hpp"
#include "servers/vmm/state/slot.hpp"

#include <algorithm>
#include <array>
#include <span>

namespace margay::vmm {

/// How a build lays out a half: its directory, right behind it the fields of all sections, then the slots.
struct Layout {
    std::span<const SectionEntry> sections;
    std::span<const StateField> fields;
    std::uint32_t used;
};

/// A section and where its slot lies in the build's struct of all slots.
struct PlacedSection {
    SectionDescription section;
    std::size_t slot;
};

/// The same, where builds with an older version than `oldest_reader` must refuse.
[[nodiscard]] constexpr PlacedSection needs_reader(PlacedSection placed,
                                                   std::uint32_t oldest_reader) noexcept {
    placed.section.oldest_reader = oldest_reader;
    return placed;
}

/// What the live part of a slot is, as a section.
template <typename State>
consteval SectionDescription describe_slot(StateSlot<State>*) {
    return describe(static_cast<const State*>(nullptr));
}

/// The slot of member `member` in struct `slots`.
#define MARGAY_SECTION(slots, member)                                                              \
    ::margay::vmm::PlacedSection {                                                                 \
        ::margay::vmm::describe_slot(static_cast<decltype(slots::member)*>(nullptr)),              \
            offsetof(slots, member)                                                                \
    }

[[nodiscard]] constexpr bool is_described(const StateField& field) noexcept {
    return !std::string_view{field.name}.starts_with("reserved");
}

[[nodiscard]] constexpr std::size_t count_fields(std::span<const PlacedSection> sections) noexcept {
    std::size_t count = 0;
    for (const auto& placed : sections) {
        count +=
            static_cast<std::size_t>(std::ranges::count_if(placed.section.fields, is_described));
    }
    return count;
}

template <std::size_t section_count, std::size_t field_count>
struct LayoutTables {
    std::array<SectionEntry, section_count> section;
    std::array<StateField, field_count> field;
    std::uint32_t used;

    constexpr operator Layout() const noexcept { return {section, field, used}; }
};

/// Where the struct of all slots begins in a half.
template <std::size_t field_count>
[[nodiscard]] constexpr std::uint32_t slots_at() noexcept {
    return content_at + static_cast<std::uint32_t>(field_count * sizeof(StateField));
}

/// `slots_size`: of the struct of all slots.
template <std::size_t field_count, std::size_t section_count>
consteval LayoutTables<section_count, field_count>
make_layout(const std::array<PlacedSection, section_count>& sections, std::size_t slots_size) {
    static_assert(section_count <= max_sections);
    LayoutTables<section_count, field_count> tables{};
    std::uint32_t fields = 0;
    for (std::size_t i = 0; i < section_count; ++i) {
        const auto& from = sections[i].section;
        auto& entry = tables.section[i];
        detail::copy_name(entry.name, from.name);
        entry.version = from.version;
        entry.oldest_reader = from.oldest_reader;
        entry.flags = from.flags;
        entry.slot = slots_at<field_count>() + static_cast<std::uint32_t>(sections[i].slot);
        entry.size = from.size;
        entry.fields = content_at + static_cast<std::uint32_t>(fields * sizeof(StateField));
        for (const auto& field : from.fields) {
            if (is_described(field)) {
                tables.field[fields++] = field;
                ++entry.field_count;
            }
        }
    }
    tables.used = slots_at<field_count>() + static_cast<std::uint32_t>(slots_size);
    return tables;
}

}  // namespace margay::vmm
