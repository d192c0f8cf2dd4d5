#pragma once

#include "servers/vmm/emulator/guest_walk.hpp"

#include <cstdint>
#include <cstring>

namespace margay::vmm {

/// Page walks of one vCPU, remembered.
///
/// A remembered walk is used only if every page-table entry it went through still has, in guest memory, the
/// value it had then. So it is never staler than a walk done now: nothing the guest does with CR3, INVLPG
/// or its tables has to be reported to this cache. It relies on GuestMemory::window() giving the same bytes
/// for the life of the cache; call forget() when that changes. Legacy paging and paging off are not cached:
/// they are at most two loads.
class WalkCache {
  public:
    /// As walk(). On success `translation` points to the result, valid until the next call.
    [[nodiscard]] WalkResult translate(GuestMemory& memory, const CpuMode& mode, std::uint64_t cr3,
                                       std::uint64_t linear, AccessKind kind,
                                       const PageTranslation*& translation) noexcept {
        const std::uint64_t page = linear >> 12;
        Line& line = line_[(page ^ (page >> 6)) % lines];
        // The walk itself depends on these; the rights are checked below.
        const std::uint64_t key = page << 8 | static_cast<unsigned>(mode.paging) << 4 |
                                  (mode.flags & CpuMode::no_execute);
        if (line.key == key && line.cr3 == cr3 && line.valid && unchanged(line.translation)) {
            const auto rights = line.translation.rights;
            if (const auto error = check_rights(mode, rights, kind); error != 0) {
                return {WalkStatus::page_fault, error};
            }
            if (kind != AccessKind::write || (rights & PageTranslation::dirty) != 0) {
                translation = &line.translation;
                return {WalkStatus::ok, 0};
            }
        }
        return miss(memory, mode, cr3, linear, kind, key, line, translation);
    }

    void forget() noexcept {
        for (auto& line : line_) {
            line.valid = false;
        }
    }

  private:
    static constexpr unsigned lines = 16;

    struct Line {
        std::uint64_t key;
        std::uint64_t cr3;
        PageTranslation translation;
        bool valid;
    };

    static bool unchanged(const PageTranslation& translation) {
        const WalkStep* step = translation.step;
        const WalkStep* const end = step + translation.steps;
        for (; step != end; ++step) {
            if (__atomic_load_n(reinterpret_cast<const std::uint64_t*>(step->entry),
                                __ATOMIC_RELAXED) != step->value) {
                return false;
            }
        }
        return true;
    }

    static WalkResult miss(GuestMemory& memory, const CpuMode& mode, std::uint64_t cr3,
                           std::uint64_t linear, AccessKind kind, std::uint64_t key, Line& line,
                           const PageTranslation*& translation) noexcept;

    Line line_[lines] = {};
};

}  // namespace margay::vmm
