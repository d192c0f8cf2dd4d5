#include "servers/vmm/state/attach.hpp"

namespace margay::vmm {

Attachment attach(Region& region, const Layout& layout, StateDefaults& defaults,
                  std::uint64_t pending, GuestMemory& memory) {
    const auto found = inspect(region, layout);
    Attachment result{found.finding, false, found.why};
    if (found.finding == Finding::blank || found.finding == Finding::refused) {
        return result;
    }
    if (pending != 0) {
        result.rolled_back = roll_back(region, pending, memory);
    }
    // The half that is left holds no exit to undo any more, so the new one does not take over any.
    if (found.finding == Finding::foreign) {
        convert(region, layout, defaults);
    }
    return result;
}

}  // namespace margay::vmm
