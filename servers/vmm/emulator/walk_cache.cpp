#include "servers/vmm/emulator/walk_cache.hpp"

#include <initializer_list>

namespace margay::vmm {

WalkResult WalkCache::translate(GuestMemory& memory, const CpuMode& mode, std::uint64_t cr3,
                                std::uint64_t linear, AccessKind kind,
                                const PageTranslation*& translation) noexcept {
    translation = find(mode, cr3, linear, kind);
    if (translation != nullptr) {
        return {WalkStatus::ok, 0};
    }
    Line& line = line_[slot(linear, kind)];
    line.allowed = 0;
    const auto result = walk(memory, mode, cr3, linear, kind, line.translation);
    if (result.status != WalkStatus::ok) {
        return result;
    }
    translation = &line.translation;
    if (mode.paging != Paging::pae && mode.paging != Paging::four_level) {
        return result;
    }
    line.key = key_of(mode, linear);
    line.cr3 = cr3;
    const unsigned last = line.translation.steps - 1U;
    for (unsigned i = 0; i < steps; ++i) {
        line.step[i] = line.translation.step[i < last ? i : last];
    }
    for (const auto other : {AccessKind::read, AccessKind::write, AccessKind::fetch}) {
        // A write to a clean page has to go through walk(), which sets the dirty bit.
        const bool clean = (line.translation.rights & PageTranslation::dirty) == 0;
        if (check_rights(mode, line.translation.rights, other) == 0 &&
            (other != AccessKind::write || !clean)) {
            line.allowed |= bit_of(other);
        }
    }
    return result;
}

}  // namespace margay::vmm
