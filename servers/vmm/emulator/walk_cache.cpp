#include "servers/vmm/emulator/walk_cache.hpp"

namespace margay::vmm {

WalkResult WalkCache::miss(GuestMemory& memory, const CpuMode& mode, std::uint64_t cr3,
                           std::uint64_t linear, AccessKind kind, std::uint64_t key, Line& line,
                           const PageTranslation*& translation) noexcept {
    line.valid = false;
    const auto result = walk(memory, mode, cr3, linear, kind, line.translation);
    if (result.status == WalkStatus::ok) {
        line.key = key;
        line.cr3 = cr3;
        line.valid = mode.paging >= Paging::pae;
        translation = &line.translation;
    }
    return result;
}

}  // namespace margay::vmm
