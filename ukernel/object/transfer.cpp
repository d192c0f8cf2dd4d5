#include "ukernel/object/transfer.hpp"

#include "ukernel/core/estate.hpp"
#include "ukernel/object/capability.hpp"
#include "ukernel/object/domain.hpp"

namespace margay {

namespace {

// The sender's word 5: slot, and the rights to pass above it.
Result<CapSlot*> named_by(const Thread& from, std::uint64_t word) {
    return find_capability(from, word & 0xffff'ffff, ObjectType::none, 0);
}

}  // namespace

bool brings_capability(const Context& from) {
    return from.is_thread() && (from.gpr[gpr_rsi] & label_transfer) != 0;
}

bool can_transfer(const Context& from, EstateLock& held) {
    if (!brings_capability(from)) return true;
    const Result<CapSlot*> source = named_by(static_cast<const Thread&>(from), from.gpr[gpr_r13]);
    return !source || held.want((*source)->estate);
}

void transfer_capability(const Thread& from, Thread& to) {
    if ((to.gpr[gpr_rsi] & label_transfer) == 0) return;
    const std::uint64_t what = to.gpr[gpr_r13];
    to.gpr[gpr_r13] = 0;
    if (to.domain == nullptr || to.receive_slot == no_slot) return;
    const Result<CapSlot*> source = named_by(from, what);
    if (!source) return;
    const auto rights = static_cast<std::uint8_t>(what >> 32);
    if (copy_capability(**source, *to.domain, to.receive_slot, rights, 0) == Status::ok)
        to.gpr[gpr_r13] = 1;
}

}  // namespace margay
