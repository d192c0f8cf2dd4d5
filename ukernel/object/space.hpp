// Space: a second-level address space of guests: nested page tables and the permission map.
#pragma once
#include "support/result.hpp"
#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/object/map_target.hpp"

namespace margay {

struct Vcpu;

struct Space : MapTarget {
    PermissionMap permissions;

    static Result<Space*> create(HostPhys base, std::uint64_t size, std::uint64_t mapping_count);
    // Stops the vCPUs that live in it.
    void destroy();
};

}  // namespace margay
