// Space: a second-level address space of guests: nested page tables and the permission map.
#pragma once
#include "support/result.hpp"
#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/object/map_target.hpp"
#include "ukernel/object/vcpu.hpp"

namespace margay {

struct Space : MapTarget {
    PermissionMap permissions;
    Vcpu::SpaceList vcpus;

    static Result<Space*> create(HostPhys base, std::uint64_t size, std::uint64_t mapping_count);
    // While it is taken apart: stops a vCPU that lives in it; false if none was left.
    bool end_vcpu();
};

}  // namespace margay
