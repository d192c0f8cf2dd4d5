// Taking subtrees of the derivation tree away.
#pragma once
#include "ukernel/core/estate.hpp"
#include "ukernel/tree/derivation.hpp"

namespace margay::derivation {

enum class Progress { done, more };
// Removes everything derived from the slot (and the slot itself, if `self`), leaves first, up to a
// bounded amount of work. `held`: the estate of the slot, and with `self` that of its parent. When it
// returns `more`, `needs` is an estate to hold besides for the next step.
Progress revoke_step(CapSlot& slot, bool self, EstateLock& held, Estate& needs);

}  // namespace margay::derivation
