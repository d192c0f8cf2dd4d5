#include "servers/vmm/state/seal.hpp"

#include "servers/vmm/state/compare_words.hpp"
#include "servers/vmm/state/half.hpp"

#include <bit>
#include <cstring>

namespace margay::vmm {

namespace {

constexpr std::uint64_t is_seal = 1ULL << 63;

std::byte* second(RegionHalf& half, const SectionEntry& section) noexcept {
    return half.at(section.slot + 8 + section.size);
}

std::uint64_t sum(const std::byte* data, std::uint32_t bytes) noexcept {
    std::uint64_t result = bytes;
    for (std::uint32_t at = 0; at < bytes; at += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, data + at, 8);
        result = std::rotl((result ^ word) * 0x9e37'79b9'7f4a'7c15, 29);
    }
    return result | is_seal;
}

}  // namespace

void seal(RegionHalf& half, const Layout& layout) noexcept {
    for (const auto& section : layout.sections) {
        if ((section.flags & section_flag::constant) == 0) {
            continue;
        }
        std::memcpy(second(half, section), live(half, section), section.size);
        saved_in(half, section) = sum(live(half, section), section.size);
    }
}

Seals check_seals(RegionHalf& half) noexcept {
    Seals result;
    for (const auto& section : sections_of(half)) {
        // What was kept for another build has no seal.
        if ((section.flags & section_flag::constant) == 0 ||
            (saved_in(half, section) & is_seal) == 0) {
            continue;
        }
        auto* const one = live(half, section);
        auto* const other = second(half, section);
        if (are_equal_words(one, other, section.size)) [[likely]] {
            continue;
        }
        const auto wanted = saved_in(half, section);
        const bool first_good = sum(one, section.size) == wanted;
        if (!first_good && sum(other, section.size) != wanted) {
            result.why = Refusal{"section `{}` of the device state was overwritten", section.name};
            return result;
        }
        // Cut off in between, the same is found again.
        std::memcpy(first_good ? other : one, first_good ? one : other, section.size);
        ++result.mended;
    }
    return result;
}

}  // namespace margay::vmm
