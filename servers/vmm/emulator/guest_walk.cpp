#include "servers/vmm/emulator/guest_walk.hpp"

namespace margay::vmm {

namespace {

constexpr std::uint64_t page_bytes = 4096;
constexpr std::uint64_t address_bits = 0x000f'ffff'ffff'f000;

namespace entry_bit {
constexpr std::uint64_t present = 1 << 0;
constexpr std::uint64_t writable = 1 << 1;
constexpr std::uint64_t user = 1 << 2;
constexpr std::uint64_t accessed = 1 << 5;
constexpr std::uint64_t dirty = 1 << 6;
constexpr std::uint64_t large = 1 << 7;
constexpr std::uint64_t no_execute = 1ull << 63;
}  // namespace entry_bit

/// The processor's own page walk sets these bits with locked cycles while other vCPUs run: so do we. Set
/// by an exit that is undone they stay, and nothing is wrong: setting them early is always allowed.
template <typename T>
T load_entry(const std::byte* entry) {
    return __atomic_load_n(reinterpret_cast<const T*>(entry), __ATOMIC_RELAXED);
}

template <typename T>
std::uint64_t set_bits(std::byte* entry, std::uint64_t bits) {
    return __atomic_or_fetch(reinterpret_cast<T*>(entry), static_cast<T>(bits), __ATOMIC_RELAXED);
}

class Walk {
  public:
    Walk(GuestMemory& memory, const CpuMode& mode, AccessKind kind, PageTranslation& translation)
        : memory_{memory}, mode_{mode}, kind_{kind}, translation_{translation} {}

    WalkResult run(std::uint64_t cr3, std::uint64_t linear) {
        translation_.rights =
            PageTranslation::writable | PageTranslation::user | PageTranslation::executable;
        translation_.steps = 0;
        translation_.entry_bytes = mode_.paging == Paging::legacy ? 4 : 8;
        WalkResult result{WalkStatus::ok, 0};
        switch (mode_.paging) {
        case Paging::off:
            translation_.gpa = linear & ~(page_bytes - 1);
            translation_.rights |= PageTranslation::dirty;
            break;
        case Paging::legacy: result = walk_legacy(cr3, linear); break;
        case Paging::pae: result = walk_levels(cr3 & 0xffff'ffe0, linear, 3); break;
        case Paging::four_level: result = walk_levels(cr3 & address_bits, linear, 4); break;
        case Paging::five_level: result = walk_levels(cr3 & address_bits, linear, 5); break;
        }
        if (result.status == WalkStatus::ok) {
            const auto page = memory_.window(translation_.gpa, page_bytes);
            translation_.ram = page.empty() ? nullptr : page.data();
        }
        return result;
    }

  private:
    /// An entry that cannot be used.
    WalkResult refuse(std::uint32_t why) const {
        return {WalkStatus::page_fault,
                why | (kind_ == AccessKind::write ? page_fault::write : 0) |
                    (mode_.has(CpuMode::user) ? page_fault::user : 0) |
                    (kind_ == AccessKind::fetch && mode_.has(CpuMode::no_execute | CpuMode::smep)
                         ? page_fault::fetch
                         : 0)};
    }

    WalkResult walk_levels(std::uint64_t table, std::uint64_t linear, unsigned levels) {
        for (unsigned level = levels; level != 0; --level) {
            const unsigned shift = 12 + 9 * (level - 1);
            // The four top entries of PAE have no room for more index bits.
            const std::uint64_t index = (linear >> shift) & (level == 3 && levels == 3 ? 3 : 511);
            auto* const entry = entry_at(table + index * 8, 8);
            if (entry == nullptr) {
                return {WalkStatus::no_table, 0};
            }
            const auto value = load_entry<std::uint64_t>(entry);
            if ((value & entry_bit::present) == 0) {
                return refuse(0);
            }
            if ((value & reserved_bits(value, level, levels)) != 0) {
                return refuse(page_fault::present | page_fault::reserved);
            }
            const bool pae_top = level == 3 && levels == 3;
            if (!pae_top) {
                restrict_rights(value);
            }
            record(entry, value);
            const bool large = (level == 2 || level == 3) && (value & entry_bit::large) != 0;
            if (level == 1 || large) {
                const std::uint64_t offset_bits = (std::uint64_t{1} << shift) - 1;
                return finish<std::uint64_t>(
                    ((value & address_bits & ~offset_bits) | (linear & offset_bits)) &
                        ~(page_bytes - 1),
                    levels == 3);
            }
            table = value & address_bits;
        }
        __builtin_unreachable();
    }

    WalkResult walk_legacy(std::uint64_t cr3, std::uint64_t linear) {
        std::uint64_t table = cr3 & 0xffff'f000;
        for (unsigned level = 2; level != 0; --level) {
            const unsigned shift = level == 2 ? 22 : 12;
            auto* const entry = entry_at(table + ((linear >> shift) & 1023) * 4, 4);
            if (entry == nullptr) {
                return {WalkStatus::no_table, 0};
            }
            const std::uint64_t value = load_entry<std::uint32_t>(entry);
            if ((value & entry_bit::present) == 0) {
                return refuse(0);
            }
            restrict_rights(value);
            record(entry, value);
            if (level == 2 && (value & entry_bit::large) != 0 && mode_.has(CpuMode::large_pages)) {
                if ((value & (1 << 21)) != 0) {
                    return refuse(page_fault::present | page_fault::reserved);
                }
                // Address bits 39:32 are in bits 20:13 (PSE-36).
                const std::uint64_t high = ((value >> 13) & 0xff) << 32;
                return finish<std::uint32_t>(high | (value & 0xffc0'0000) | (linear & 0x003f'f000),
                                             false);
            }
            if (level == 1) {
                return finish<std::uint32_t>(value & 0xffff'f000, false);
            }
            table = value & 0xffff'f000;
        }
        __builtin_unreachable();
    }

    std::uint64_t reserved_bits(std::uint64_t value, unsigned level, unsigned levels) const {
        std::uint64_t reserved = mode_.has(CpuMode::no_execute) ? 0 : entry_bit::no_execute;
        if (levels == 3) {
            reserved |= 0x7ff0'0000'0000'0000;
            if (level == 3) {
                return reserved | entry_bit::no_execute | 0x1e6;
            }
        }
        if (level >= 4) {
            return reserved | entry_bit::large;
        }
        if (level > 1 && (value & entry_bit::large) != 0) {
            return reserved | (level == 3 ? 0x3fff'e000 : 0x1f'e000);
        }
        return reserved;
    }

    void restrict_rights(std::uint64_t value) {
        unsigned lost = 0;
        lost |= (value & entry_bit::writable) == 0 ? PageTranslation::writable : 0U;
        lost |= (value & entry_bit::user) == 0 ? PageTranslation::user : 0U;
        lost |= (value & entry_bit::no_execute) != 0 ? PageTranslation::executable : 0U;
        translation_.rights = static_cast<std::uint8_t>(translation_.rights & ~lost);
    }

    void record(std::byte* entry, std::uint64_t value) {
        writable_[translation_.steps] = entry;
        translation_.step[translation_.steps++] = {entry, value};
    }

    /// Check the rights, then set the accessed and dirty bits.
    template <typename Entry>
    WalkResult finish(std::uint64_t gpa, bool top_has_no_bits) {
        translation_.gpa = gpa;
        if (const auto error = check_rights(mode_, translation_.rights, kind_); error != 0) {
            return {WalkStatus::page_fault, error};
        }
        for (unsigned i = top_has_no_bits ? 1 : 0; i < translation_.steps; ++i) {
            const bool leaf = i + 1U == translation_.steps;
            const std::uint64_t wanted =
                entry_bit::accessed |
                (leaf && kind_ == AccessKind::write ? entry_bit::dirty : std::uint64_t{0});
            auto& step = translation_.step[i];
            if ((step.value & wanted) != wanted) {
                step.value = set_bits<Entry>(writable_[i], wanted);
            }
            if (leaf && (step.value & entry_bit::dirty) != 0) {
                translation_.rights |= PageTranslation::dirty;
            }
        }
        return {WalkStatus::ok, 0};
    }

    std::byte* entry_at(std::uint64_t gpa, std::size_t bytes) const {
        const auto window = memory_.window(gpa, bytes);
        return window.empty() ? nullptr : window.data();
    }

    GuestMemory& memory_;
    const CpuMode& mode_;
    AccessKind kind_;
    PageTranslation& translation_;
    std::byte* writable_[5];
};

}  // namespace

WalkResult walk(GuestMemory& memory, const CpuMode& mode, std::uint64_t cr3, std::uint64_t linear,
                AccessKind kind, PageTranslation& translation) noexcept {
    return Walk{memory, mode, kind, translation}.run(cr3, linear);
}

}  // namespace margay::vmm
