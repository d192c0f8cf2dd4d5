#include "servers/vmm/state/attach.hpp"

#include "servers/vmm/state/half.hpp"
#include "servers/vmm/state/seal.hpp"

namespace margay::vmm {

namespace {

/// Nothing was saved for an exit that has not been yet.
Refusal check_journal(Region& region, std::uint64_t last) {
    for (const auto& undo : region.header.guest_word) {
        if (undo.written_in > last) {
            return Refusal{"the journal of guest memory is ahead of the guest"};
        }
    }
    auto& half = region.active();
    for (const auto& section : sections_of(half)) {
        if ((section.flags & section_flag::constant) == 0 && saved_in(half, section) > last) {
            return Refusal{"the journal of section `{}` is ahead of the guest", section.name};
        }
    }
    return {};
}

}  // namespace

Attachment attach(Region& region, const Layout& layout, StateDefaults& defaults,
                  std::uint64_t pending, GuestMemory& memory, std::uint64_t last) {
    const auto found = inspect(region, layout);
    Attachment result{found.finding, false, found.why};
    if (found.finding == Finding::blank || found.finding == Finding::refused) {
        return result;
    }
    result.why = check_journal(region, last);
    if (!result.why) {
        const auto seals = check_seals(region.active());
        result.mended = seals.mended;
        result.why = seals.why;
    }
    if (!result.why && found.finding == Finding::same) {
        result.why = defaults.check(region.active(), pending);
    }
    if (!result.why && pending != 0) {
        result.rolled_back = roll_back(region, pending, memory);
    }
    // The half that is left holds no exit to undo any more, so the new one does not take over any.
    if (!result.why && found.finding == Finding::foreign) {
        result.why = convert(region, layout, defaults);
    }
    if (result.why) {
        result.finding = Finding::refused;
    }
    return result;
}

}  // namespace margay::vmm
