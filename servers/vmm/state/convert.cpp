#include "servers/vmm/state/convert.hpp"

#include "servers/vmm/state/half.hpp"
#include "servers/vmm/state/seal.hpp"

#include <cstring>

namespace margay::vmm {

namespace {

/// `bytes`: a multiple of 8.
void zero(void* at, std::uint64_t bytes) noexcept {
    std::uint64_t words = bytes / 8;
    asm volatile("rep stosq" : "+D"(at), "+c"(words) : "a"(0) : "memory");
}

/// Adds what is kept for other builds behind this build's own sections. Without a target it only counts.
class Keeper {
  public:
    Keeper(const RegionHalf& from, RegionHalf* to, const Layout& layout) noexcept
        : from_{from},
          to_{to},
          layout_{layout},
          sections_{layout.sections.size()},
          used_{layout.used} {}

    void keep_all() noexcept {
        for (const auto& section : sections_of(from_)) {
            const auto* const ours = find_section(layout_.sections, section.name);
            if (ours == nullptr) {
                keep_section(section);
            } else if (is_leftover(section)) {
                // Together with the section's own, or alone if the region does not have that section.
                if (find_section(sections_of(from_), section.name) == nullptr) {
                    keep_fields(section, nullptr, *ours);
                }
            } else {
                keep_fields(section, find_section(sections_of(from_), section.name, true), *ours);
            }
        }
        if (to_ != nullptr) {
            to_->sections = static_cast<std::uint32_t>(sections_);
            to_->used = static_cast<std::uint32_t>(used_);
        }
    }

    [[nodiscard]] bool fits() const noexcept {
        return sections_ <= max_sections && used_ <= half_bytes;
    }

  private:
    /// A section that this build does not know at all, or what another build kept of it.
    void keep_section(const SectionEntry& section) noexcept {
        const auto fields = fields_of(from_, section);
        auto entry = section;
        entry.fields = take(fields.size_bytes());
        entry.slot = take(slot_bytes(section.size));
        if (to_ != nullptr) {
            zero(to_->at(entry.slot), slot_bytes(entry.size));
            std::memcpy(to_->at(entry.fields), fields.data(), fields.size_bytes());
            std::memcpy(live(*to_, entry), live(from_, section), section.size);
        }
        add(entry);
    }

    /// The fields of `section`, and of what was kept of it before, that this build does not know.
    void keep_fields(const SectionEntry& section, const SectionEntry* kept,
                     const SectionEntry& ours) noexcept {
        std::uint32_t count = 0;
        std::uint32_t size = 0;
        const auto tally = [&](const StateField& field, const SectionEntry&) {
            ++count;
            size += padded(field.size);
        };
        for_unknown(section, kept, ours, tally);
        if (count == 0) {
            return;
        }
        SectionEntry entry{};
        std::memcpy(entry.name, section.name, sizeof(entry.name));
        entry.version = section.version;
        entry.flags = section_flag::leftover;
        entry.field_count = count;
        entry.fields = take(count * sizeof(StateField));
        entry.size = size;
        entry.slot = take(slot_bytes(size));
        add(entry);
        if (to_ == nullptr) {
            return;
        }
        zero(to_->at(entry.slot), slot_bytes(entry.size));
        auto* field_at = reinterpret_cast<StateField*>(to_->at(entry.fields));
        std::uint32_t offset = 0;
        for_unknown(section, kept, ours, [&](const StateField& field, const SectionEntry& in) {
            *field_at = field;
            field_at->offset = offset;
            ++field_at;
            std::memcpy(live(*to_, entry) + offset, live(from_, in) + field.offset, field.size);
            offset += padded(field.size);
        });
    }

    template <typename Visit>
    void for_unknown(const SectionEntry& section, const SectionEntry* kept,
                     const SectionEntry& ours, Visit visit) noexcept {
        for (const auto* in : {&section, kept}) {
            if (in == nullptr) {
                continue;
            }
            for (const auto& field : fields_of(from_, *in)) {
                const bool shadowed =
                    in == kept && find_field(fields_of(from_, section), field.name) != nullptr;
                if (!shadowed && find_field(fields_of(layout_, ours), field.name) == nullptr) {
                    visit(field, *in);
                }
            }
        }
    }

    [[nodiscard]] static std::uint32_t padded(std::uint32_t size) noexcept {
        return (size + 7) & ~7U;
    }

    [[nodiscard]] std::uint32_t take(std::uint64_t bytes) noexcept {
        const auto at = static_cast<std::uint32_t>(used_);
        used_ += bytes;
        return at;
    }

    void add(const SectionEntry& entry) noexcept {
        if (to_ != nullptr) {
            to_->directory[sections_] = entry;
        }
        ++sections_;
    }

    const RegionHalf& from_;
    RegionHalf* to_;
    const Layout& layout_;
    std::size_t sections_;
    std::uint64_t used_;
};

void describe_half(RegionHalf& half, const Layout& layout) noexcept {
    zero(&half, layout.used);
    half.sections = static_cast<std::uint32_t>(layout.sections.size());
    half.used = layout.used;
    std::memcpy(half.directory, layout.sections.data(), layout.sections.size_bytes());
    std::memcpy(half.content, layout.fields.data(), layout.fields.size_bytes());
}

/// The fields of one of our sections that the old half has.
void load(const RegionHalf& from, RegionHalf& to, const SectionEntry& ours) noexcept {
    const auto* const own = find_section(sections_of(from), ours.name);
    const auto* const kept = find_section(sections_of(from), ours.name, true);
    for (const auto& field : fields_of(to, ours)) {
        for (const auto* in : {own, kept}) {
            const auto* const found =
                in != nullptr ? find_field(fields_of(from, *in), field.name) : nullptr;
            if (found != nullptr) {
                std::memcpy(live(to, ours) + field.offset, live(from, *in) + found->offset,
                            field.size);
                break;
            }
        }
    }
}

}  // namespace

bool has_room(const RegionHalf& half, const Layout& layout) noexcept {
    Keeper keeper{half, nullptr, layout};
    keeper.keep_all();
    return keeper.fits();
}

void create(Region& region, const Layout& layout, StateDefaults& defaults) {
    region.header.magic = 0;
    order_stores();
    describe_half(region.half[0], layout);
    defaults.reset(region.half[0]);
    seal(region.half[0], layout);
    region.header = {};
    region.header.format = region_format;
    order_stores();
    region.header.magic = region_magic;
    order_stores();
}

Refusal convert(Region& region, const Layout& layout, StateDefaults& defaults) {
    const auto& from = region.active();
    const std::uint32_t other = region.header.active ^ 1;
    auto& to = region.half[other];
    describe_half(to, layout);
    if (!layout.sections.empty()) {
        load(from, to, layout.sections[0]);
    }
    defaults.reset(to);
    for (const auto& section : layout.sections) {
        load(from, to, section);
    }
    if (const auto why = defaults.check(to, {})) {
        return why;
    }
    seal(to, layout);
    Keeper{from, &to, layout}.keep_all();
    order_stores();
    region.header.active = other;
    order_stores();
    return {};
}

}  // namespace margay::vmm
