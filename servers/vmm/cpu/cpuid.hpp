#pragma once

#include "servers/vmm/cpu/cpuid_state.hpp"

#include <cstdint>

namespace margay::vmm {

/// The processor's own CPUID: a function so that tests can invent processors.
using HostCpuid = CpuidResult (*)(std::uint32_t leaf, std::uint32_t subleaf);

struct CpuidPolicy {
    std::uint64_t tsc_khz;
    std::uint32_t apic_id;
    std::uint8_t physical_bits;  ///< 36..52
};

/// Compute the guest's CPUID: the host's with everything removed that the VMM does not provide (SVM, XSAVE and
/// what needs it, MONITOR, PCID, machine checks, performance counters, …), one core, and added what it models
/// (x2APIC, TSC deadline, TSC_ADJUST, invariant TSC, ARAT, the KVM paravirtual clock and EOI).
void build_cpuid(CpuidState& state, const CpuidPolicy& policy, HostCpuid host) noexcept;

/// CPUID as the guest sees it. Leaves that do not exist are all zero, as on AMD processors.
[[nodiscard]] inline CpuidResult lookup_cpuid(const CpuidState& state, std::uint32_t leaf,
                                              std::uint32_t subleaf) noexcept {
    const CpuidRange* range = nullptr;
    if (leaf < cpuid_basic_leaves) {
        range = &state.basic[leaf];
    } else if (leaf - 0x8000'0000U < cpuid_extended_leaves) {
        range = &state.extended[leaf - 0x8000'0000U];
    } else if (leaf - 0x4000'0000U < cpuid_hypervisor_leaves) {
        range = &state.hypervisor[leaf - 0x4000'0000U];
    } else {
        return {};
    }
    if (range->ignores_subleaf != 0) {
        return state.entry[range->first];
    }
    if (subleaf < range->count) {
        return state.entry[range->first + subleaf];
    }
    if (leaf == 0xb && range->count != 0) {
        return {0, 0, subleaf & 0xff, state.entry[range->first].edx};
    }
    return {};
}

}  // namespace margay::vmm
