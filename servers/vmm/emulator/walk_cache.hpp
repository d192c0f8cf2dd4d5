#pragma once

#include "servers/vmm/emulator/guest_walk.hpp"

#include <cstdint>

namespace margay::vmm {

/// Page walks of one vCPU, remembered.
///
/// A remembered walk is used only if every page-table entry it went through still has, in guest memory, the
/// value it had then. So it is never staler than a walk done now: nothing the guest does with CR3, INVLPG
/// or its tables has to be reported to this cache. It relies on GuestMemory::window() giving the same bytes
/// for the life of the cache; call forget() when that changes. Paging off and legacy paging are not cached,
/// being at most two loads, nor are five levels, which only a guest with LA57 has.
class WalkCache {
  public:
    /// The page of `linear`, if a remembered walk allows this access to it: the short way, a few dozen
    /// executed instructions. nullptr says nothing: ask translate(). `linear` need not be canonical.
    [[nodiscard]] const PageTranslation* find(const CpuMode& mode, std::uint64_t cr3,
                                              std::uint64_t linear,
                                              AccessKind kind) const noexcept {
        const Line& line = line_[slot(linear, kind)];
        if (line.key != key_of(mode, linear) || line.cr3 != cr3 ||
            (line.allowed & bit_of(kind)) == 0 || !unchanged(line)) [[unlikely]] {
            return nullptr;
        }
        return &line.translation;
    }

    /// As walk(), and remembers. On success `translation` points to the result, valid until the next call.
    [[nodiscard]] WalkResult translate(GuestMemory& memory, const CpuMode& mode, std::uint64_t cr3,
                                       std::uint64_t linear, AccessKind kind,
                                       const PageTranslation*& translation) noexcept;

    void forget() noexcept {
        for (auto& line : line_) {
            line.allowed = 0;
        }
    }

  private:
    static constexpr unsigned lines = 16;
    static constexpr unsigned steps = 4;

    struct Line {
        std::uint64_t key;
        std::uint64_t cr3;
        WalkStep step[steps];  // fewer levels: the last one again
        PageTranslation translation;
        std::uint8_t allowed;  // a bit per AccessKind; none in an unused line
    };

    static constexpr std::uint8_t bit_of(AccessKind kind) {
        return static_cast<std::uint8_t>(1U << static_cast<unsigned>(kind));
    }
    /// Every emulated instruction needs one code and one data page: they never displace each other.
    static unsigned slot(std::uint64_t linear, AccessKind kind) {
        const unsigned half = kind == AccessKind::fetch ? lines / 2 : 0;
        return half + static_cast<unsigned>((linear >> 12) ^ (linear >> 18)) % (lines / 2);
    }
    /// Page and mode in one word: what the access is allowed to do depends on both.
    static std::uint64_t key_of(const CpuMode& mode, std::uint64_t linear) {
        return (linear & ~std::uint64_t{0xfff}) | mode.key();
    }
    static std::uint64_t difference(const WalkStep& step) {
        return step.value ^ __atomic_load_n(reinterpret_cast<const std::uint64_t*>(step.entry),
                                            __ATOMIC_RELAXED);
    }
    static bool unchanged(const Line& line) {
        // Written out: this is most of what a remembered walk costs.
        return (difference(line.step[0]) | difference(line.step[1]) | difference(line.step[2]) |
                difference(line.step[3])) == 0;
    }

    Line line_[lines] = {};
};

}  // namespace margay::vmm
