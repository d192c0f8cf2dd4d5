#include "servers/vmm/state/inspect.hpp"

#include "servers/vmm/state/compare_words.hpp"
#include "servers/vmm/state/convert.hpp"
#include "servers/vmm/state/half.hpp"

#include <cstddef>

namespace margay::vmm {

namespace {

struct Extent {
    std::uint64_t begin;
    std::uint64_t end;

    [[nodiscard]] bool is_in_content(std::uint32_t used) const {
        return begin % 8 == 0 && begin >= content_at && end <= used;
    }
    [[nodiscard]] bool overlaps(const Extent& other) const {
        return begin < other.end && other.begin < end;
    }
};

Extent slot_of(const SectionEntry& s) { return {s.slot, s.slot + slot_bytes(s.size)}; }
Extent fields_extent(const SectionEntry& s) {
    return {s.fields, s.fields + std::uint64_t{s.field_count} * sizeof(StateField)};
}

template <std::size_t bytes>
bool is_name(const char (&name)[bytes]) {
    return name[0] != 0 && name[bytes - 1] == 0;
}

/// Everything that following the entry relies on.
bool is_sound(const RegionHalf& half, const SectionEntry& s) {
    if (!is_name(s.name) || s.size % 8 != 0 || !slot_of(s).is_in_content(half.used) ||
        !fields_extent(s).is_in_content(half.used) || slot_of(s).overlaps(fields_extent(s))) {
        return false;
    }
    for (const auto& field : fields_of(half, s)) {
        if (!is_name(field.name) || field.size == 0 ||
            std::uint64_t{field.offset} + field.size > s.size) {
            return false;
        }
    }
    return true;
}

bool collide(const SectionEntry& a, const SectionEntry& b) {
    return (is_leftover(a) == is_leftover(b) && is_same_name(a.name, b.name)) ||
           slot_of(a).overlaps(slot_of(b)) || slot_of(a).overlaps(fields_extent(b)) ||
           fields_extent(a).overlaps(slot_of(b)) || fields_extent(a).overlaps(fields_extent(b));
}

/// Sections before `first` are known to be sound.
Refusal check_structure(const RegionHalf& half, std::size_t first) {
    const auto sections = sections_of(half);
    for (std::size_t i = first; i < sections.size(); ++i) {
        if (!is_sound(half, sections[i])) {
            return Refusal{"section {} of the device state is damaged", i};
        }
        for (std::size_t j = 0; j < i; ++j) {
            if (collide(sections[i], sections[j])) {
                return Refusal{"sections {} and {} of the device state collide", j, i};
            }
        }
    }
    return {};
}

/// Whether this build may do without, or with what it knows of, the sections from `first` on.
Refusal check_meaning(const RegionHalf& half, const Layout& layout, std::size_t first) {
    for (const auto& theirs : sections_of(half).subspan(first)) {
        const auto* const ours = find_section(layout.sections, theirs.name);
        if (ours == nullptr) {
            if ((theirs.flags & section_flag::critical) != 0) {
                return Refusal{"this build does not know section `{}` of the device state",
                               theirs.name};
            }
            continue;
        }
        if (!is_leftover(theirs) && theirs.oldest_reader > ours->version) {
            return Refusal{"section `{}` needs a build that knows version {}", theirs.name,
                           theirs.oldest_reader};
        }
        for (const auto& field : fields_of(half, theirs)) {
            const auto* const known = find_field(fields_of(layout, *ours), field.name);
            if (known != nullptr && known->size != field.size) {
                return Refusal{"`{}` of section `{}` has {} bytes, not {}", field.name, theirs.name,
                               field.size, known->size};
            }
        }
    }
    return {};
}

}  // namespace

bool begins_with(const RegionHalf& half, const Layout& layout) noexcept {
    return half.sections >= layout.sections.size() && half.used >= layout.used &&
           are_equal_words(half.directory, layout.sections.data(), layout.sections.size_bytes()) &&
           are_equal_words(half.content, layout.fields.data(), layout.fields.size_bytes());
}

Inspection inspect(const Region& region, const Layout& layout) {
    const auto& header = region.header;
    const auto refuse = [](const Refusal& why) { return Inspection{Finding::refused, why}; };
    if (header.magic == 0) {
        return {Finding::blank, {}};
    }
    if (header.magic != region_magic) {
        return refuse(Refusal{"this is no device state"});
    }
    if (header.format != region_format) {
        return refuse(
            Refusal{"the device state has format {}, not {}", header.format, region_format});
    }
    if (header.active > 1) {
        return refuse(Refusal{"the header of the device state is damaged"});
    }
    const auto& half = region.active();
    if (half.sections > max_sections || half.used < content_at || half.used > half_bytes) {
        return refuse(Refusal{"the directory of the device state is damaged"});
    }
    const bool same = begins_with(half, layout);
    const std::size_t first = same ? layout.sections.size() : 0;
    if (const auto why = check_structure(half, first)) {
        return refuse(why);
    }
    if (const auto why = check_meaning(half, layout, first)) {
        return refuse(why);
    }
    if (same) {
        return {Finding::same, {}};
    }
    if (!has_room(half, layout)) {
        return refuse(Refusal{"the device state has no room for this build's"});
    }
    return {Finding::foreign, {}};
}

}  // namespace margay::vmm
