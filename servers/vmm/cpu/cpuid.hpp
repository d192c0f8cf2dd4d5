#pragma once

#include "servers/vmm/cpu/cpuid_state.hpp"

#include "support/cpu_features.hpp"

#include <cstdint>

namespace margay::vmm {

/// The processor's own CPUID: a function so that tests can invent processors.
using HostCpuid = CpuidResult (*)(std::uint32_t leaf, std::uint32_t subleaf);

struct CpuidPolicy {
    std::uint64_t tsc_khz;
    std::uint32_t apic_id;
    std::uint8_t physical_bits;  ///< 36..52
    std::uint16_t cpus;          ///< cores of one package, 1..max_cpus
    CpuFeatures hidden = 0;      ///< of what the host has
};

/// Compute the guest's CPUID: the host's with everything removed that the policy hides or the VMM does not provide (SVM, XSAVES,
/// MONITOR, PCID, performance counters, …), its cores, and added what it models (machine checks, x2APIC, TSC
/// deadline, TSC_ADJUST, invariant TSC, ARAT, the KVM paravirtual clock, EOI and steal time; with several
/// vCPUs KVM's kicks, TLB flushes and IPIs).
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

/// Whether an answer is more than lookup_cpuid() says: it follows registers of the guest, or names the processor that asks.
[[nodiscard]] constexpr bool follows_registers(std::uint32_t leaf) noexcept {
    constexpr std::uint32_t basic = 1U << 1 | 1U << 7 | 1U << 0xb | 1U << 0xd;
    return leaf < 32 ? (basic >> leaf & 1) != 0 : leaf == 0x8000'0001;
}

/// What of CPUID follows registers of the guest (AMD APM vol. 3 appendix E). Leaf 1, leaf 7, and sub-leaves 0 and 1
/// of leaf 0xd, whose EBX is the size of an area with the parts that XCR0 enables.
/// Leaves 1 and 0x8000'0001: there is no APIC while APIC_BASE disables it (AMD APM vol. 2 §16.3.1).
inline void show_apic(CpuidResult& leaf, bool enabled) noexcept {
    leaf.edx &= ~(static_cast<std::uint32_t>(!enabled) << 9);
}
inline void show_osxsave(CpuidResult& leaf_1, std::uint64_t cr4) noexcept {
    leaf_1.ecx |= static_cast<std::uint32_t>((cr4 >> 18 & 1) << 27);
}
/// The leaves that name the processor that asks: 1 and 0xb.
inline void show_apic_id(CpuidResult& result, std::uint32_t leaf, std::uint32_t apic_id) noexcept {
    if (leaf == 1) {
        result.ebx = (result.ebx & 0x00ff'ffff) | apic_id << 24;
    } else {
        result.edx = apic_id;
    }
}
inline void show_ospke(CpuidResult& leaf_7, std::uint32_t subleaf, std::uint64_t cr4) noexcept {
    if (subleaf == 0) leaf_7.ecx |= static_cast<std::uint32_t>((cr4 >> 22 & 1) << 4);
}
void show_xsave_size(CpuidResult& leaf_d, std::uint32_t subleaf, std::uint64_t xcr0,
                     const CpuidState& state) noexcept;

}  // namespace margay::vmm
