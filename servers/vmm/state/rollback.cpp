#include "servers/vmm/state/rollback.hpp"

#include "servers/vmm/state/half.hpp"

#include <cstring>

namespace margay::vmm {

bool roll_back(Region& region, std::uint64_t sequence, GuestMemory& memory) noexcept {
    bool any = false;
    // Each is put back before its number is cleared: cut off in between, it is put back once more.
    for (auto& undo : region.header.guest_word) {
        if (undo.written_in != sequence) {
            continue;
        }
        const auto window = memory.window(undo.gpa, 4);
        if (window.size() == 4) {
            const auto value = static_cast<std::uint32_t>(undo.value);
            std::memcpy(window.data(), &value, 4);
        }
        order_stores();
        undo.written_in = 0;
        any = true;
    }
    auto& half = region.active();
    for (const auto& section : sections_of(half)) {
        if (saved_in(half, section) != sequence) {
            continue;
        }
        std::memcpy(live(half, section), saved(half, section), section.size);
        order_stores();
        saved_in(half, section) = 0;
        any = true;
    }
    return any;
}

}  // namespace margay::vmm
