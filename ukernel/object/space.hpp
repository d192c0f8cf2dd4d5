// Space: a second-level address space of guests: nested page tables and the permission bitmaps.
#pragma once
#include "support/result.hpp"
#include "ukernel/arch/x86_64/svm/permission_bitmap.hpp"
#include "ukernel/object/map_target.hpp"

namespace margay {

struct Vcpu;

struct Space : MapTarget {
    IoBitmap* io = nullptr;    // 12 KiB, one bit per port; set: exit
    MsrBitmap* msr = nullptr;  // 8 KiB
    HostPhys io_phys, msr_phys;

    static Result<Space*> create(HostPhys base, std::uint64_t size, std::uint64_t mapping_count);
    // Stops the vCPUs that live in it.
    void destroy();
};

}  // namespace margay
