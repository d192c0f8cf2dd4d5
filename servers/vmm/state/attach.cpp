#include "servers/vmm/state/attach.hpp"

#include "servers/vmm/state/half.hpp"
#include "servers/vmm/state/seal.hpp"

namespace margay::vmm {

namespace {

/// Nothing was saved for an exit that has not been yet.
Refusal check_journal(Region& region, std::span<const ExitNumbers> exits) {
    for (const auto& undo : region.header.guest_word) {
        if (is_ahead(undo.written_in, exits)) {
            return Refusal{"the journal of guest memory is ahead of the guest"};
        }
    }
    auto& half = region.active();
    for (const auto& section : sections_of(half)) {
        if ((section.flags & section_flag::constant) == 0 &&
            is_ahead(saved_in(half, section), exits)) {
            return Refusal{"the journal of section `{}` is ahead of the guest", section.name};
        }
    }
    return {};
}

}  // namespace

Attachment attach(Region& region, const Layout& layout, StateDefaults& defaults,
                  std::span<const ExitNumbers> exits, GuestMemory& memory) {
    const auto found = inspect(region, layout);
    Attachment result{found.finding, false, found.why};
    if (found.finding == Finding::blank || found.finding == Finding::refused) {
        return result;
    }
    result.why = check_journal(region, exits);
    if (!result.why) {
        const auto seals = check_seals(region.active());
        result.mended = seals.mended;
        result.why = seals.why;
    }
    if (!result.why && found.finding == Finding::same) {
        result.why = defaults.check(region.active(), exits);
    }
    for (const auto& e : exits) {
        if (!result.why && e.pending != 0) {
            result.rolled_back |= roll_back(region, e.pending, memory);
        }
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
