// One row of an exit table: where the exits of one class go.
#pragma once
#include "ukernel/object/portal.hpp"

namespace margay {

struct ExitRow;
struct ExitSource;

// A portal, and what its handler wants to see.
struct ExitTarget {
    PortalFields* portal = &Portal::nowhere;
    std::uint64_t wanted = 0;  // state groups
    std::uint64_t badge = 0;
    ExitRow* row = nullptr;
    Binding binding;  // below the portal's capability

    ExitTarget();
    bool is_bound() const { return portal != &Portal::nowhere; }
    // Only if it is bound.
    Portal& bound_portal() const { return static_cast<Portal&>(*portal); }
};

// The policy answers what it wants; what it forwards, and everything while it has no handler, goes to the
// base. `active` is resolved when one of them is bound: the exit path follows one pointer.
struct alignas(256) ExitRow {
    const ExitTarget* active = &base;
    ExitSource* source = nullptr;
    ExitTarget base, policy;

    ExitRow() { base.row = policy.row = this; }
};

}  // namespace margay
