#include "servers/vmm/cpu/cpuid.hpp"

#include <algorithm>
#include <initializer_list>

namespace margay::vmm {

namespace {

constexpr std::uint32_t bits(std::initializer_list<unsigned> numbers) {
    std::uint32_t value = 0;
    for (const auto number : numbers) {
        value |= 1U << number;
    }
    return value;
}

// Leaf 1 (AMD APM vol. 3 appendix E). Passed if the host has it:
// SSE3, PCLMULQDQ, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, RDRAND
constexpr auto basic_ecx_pass = bits({0, 1, 9, 13, 19, 20, 22, 23, 25, 30});
constexpr auto basic_ecx_set = bits({21, 24, 31});  // x2APIC, TSC deadline, hypervisor
// FPU VME DE PSE TSC MSR PAE CX8 SEP PGE CMOV PSE36 CLFSH MMX FXSR SSE SSE2
constexpr auto basic_edx_pass = bits({0, 1, 2, 3, 4, 5, 6, 8, 11, 13, 15, 17, 19, 23, 24, 25, 26});
constexpr auto basic_edx_set = bits({9, 12, 16});  // APIC, MTRR, PAT

constexpr auto power_eax_set = bits({2});  // ARAT: the APIC timer does not stop

// FSGSBASE BMI1 SMEP BMI2 ERMS RDSEED ADX SMAP CLFLUSHOPT CLWB SHA
constexpr auto structured_ebx_pass = bits({0, 3, 7, 8, 9, 18, 19, 20, 23, 24, 29});
constexpr auto structured_ebx_set = bits({1});       // TSC_ADJUST
constexpr auto structured_ecx_pass = bits({2, 22});  // UMIP RDPID
constexpr auto structured_edx_pass = bits({4});      // FSRM

// LAHF, CR8 by LOCK MOV CR0, ABM, SSE4A, misaligned SSE, 3DNow! prefetch
constexpr auto extended_ecx_pass = bits({0, 4, 5, 6, 7, 8});
// as leaf 1, and SYSCALL NX MMXEXT FFXSR PDPE1GB RDTSCP LM 3DNowExt 3DNow
constexpr auto extended_edx_pass =
    bits({0, 1, 2, 3, 4, 5, 6, 8, 11, 13, 15, 17, 20, 22, 23, 24, 25, 26, 27, 29, 30, 31});
constexpr auto extended_edx_set = bits({9, 12, 16});

constexpr auto invariant_tsc = bits({8});
constexpr auto capacity_ebx_pass = bits({0});  // CLZERO

// Linux arch/x86/include/uapi/asm/kvm_para.h: clock at the old and the new MSRs, no I/O delay needed, EOI in
// memory, clock stable across vCPUs.
constexpr auto kvm_features = bits({0, 1, 3, 6, 24});
constexpr std::uint32_t apic_bus_khz = 1'000'000;

constexpr std::uint32_t last_basic = 0x0b;
constexpr std::uint32_t last_extended = 0x8000'001a;
constexpr std::uint32_t least_extended = 0x8000'0008;
constexpr std::uint32_t first_hypervisor = 0x4000'0000;
constexpr std::uint32_t last_hypervisor = 0x4000'0010;

class Builder {
  public:
    explicit Builder(CpuidState& state) noexcept : state_{state} { state_ = {}; }

    void put(CpuidRange& range, const CpuidResult& result) noexcept {
        range.ignores_subleaf = 1;
        append(range, result);
    }

    void append(CpuidRange& range, const CpuidResult& result) noexcept {
        if (state_.used >= cpuid_entries) {
            state_.overflow = 1;
            range = {};
            return;
        }
        if (range.count == 0) {
            range.first = state_.used;
        }
        state_.entry[state_.used++] = result;
        ++range.count;
    }

    void basic(std::uint32_t leaf, const CpuidResult& result) noexcept {
        put(state_.basic[leaf], result);
    }
    void extended(std::uint32_t leaf, const CpuidResult& result) noexcept {
        put(state_.extended[leaf - 0x8000'0000], result);
    }
    void hypervisor(std::uint32_t leaf, const CpuidResult& result) noexcept {
        put(state_.hypervisor[leaf - first_hypervisor], result);
    }

  private:
    CpuidState& state_;
};

void build_basic(Builder& builder, CpuidState& state, const CpuidPolicy& policy,
                 HostCpuid host) noexcept {
    const auto vendor = host(0, 0);
    const auto host_last = vendor.eax;
    builder.basic(0, {last_basic, vendor.ebx, vendor.ecx, vendor.edx});

    const auto one = host(1, 0);
    const auto clflush_line = one.ebx & 0xff00;
    builder.basic(1, {one.eax, policy.apic_id << 24 | 1U << 16 | clflush_line,
                      (one.ecx & basic_ecx_pass) | basic_ecx_set,
                      (one.edx & basic_edx_pass) | basic_edx_set});
    builder.basic(6, {power_eax_set, 0, 0, 0});
    const auto seven = host_last >= 7 ? host(7, 0) : CpuidResult{};
    builder.append(state.basic[7],
                   {0, (seven.ebx & structured_ebx_pass) | structured_ebx_set,
                    seven.ecx & structured_ecx_pass, seven.edx & structured_edx_pass});
    // One thread in one core.
    builder.append(state.basic[0xb], {0, 1, 1U << 8 | 0, policy.apic_id});
    builder.append(state.basic[0xb], {0, 1, 2U << 8 | 1, policy.apic_id});
}

void build_extended(Builder& builder, const CpuidPolicy& policy, HostCpuid host) noexcept {
    const auto zero = host(0x8000'0000, 0);
    const auto host_last = zero.eax;
    const auto last = std::clamp(host_last, least_extended, last_extended);
    builder.extended(0x8000'0000, {last, zero.ebx, zero.ecx, zero.edx});
    const auto one = host(0x8000'0001, 0);
    builder.extended(0x8000'0001, {one.eax, one.ebx, one.ecx & extended_ecx_pass,
                                   (one.edx & extended_edx_pass) | extended_edx_set});
    // Name, and sizes of caches and TLBs.
    for (const auto leaf : {0x8000'0002U, 0x8000'0003U, 0x8000'0004U, 0x8000'0005U, 0x8000'0006U,
                            0x8000'0019U, 0x8000'001aU}) {
        if (leaf <= host_last && leaf <= last) {
            builder.extended(leaf, host(leaf, 0));
        }
    }
    builder.extended(0x8000'0007, {0, 0, 0, invariant_tsc});
    const auto eight =
        host_last >= 0x8000'0008 ? host(0x8000'0008, 0) : CpuidResult{0x3000, 0, 0, 0};
    builder.extended(0x8000'0008, {(eight.eax & 0xff00) | policy.physical_bits,
                                   eight.ebx & capacity_ebx_pass, 0, 0});
}

void build_hypervisor(Builder& builder, const CpuidPolicy& policy) noexcept {
    // "KVMKVMKVM\0\0\0"
    builder.hypervisor(first_hypervisor, {last_hypervisor, 0x4b4d'564b, 0x564b'4d56, 0x0000'004d});
    builder.hypervisor(first_hypervisor + 1, {kvm_features, 0, 0, 0});
    builder.hypervisor(last_hypervisor,
                       {static_cast<std::uint32_t>(policy.tsc_khz), apic_bus_khz, 0, 0});
}

}  // namespace

void build_cpuid(CpuidState& state, const CpuidPolicy& policy, HostCpuid host) noexcept {
    Builder builder{state};
    build_basic(builder, state, policy, host);
    build_extended(builder, policy, host);
    build_hypervisor(builder, policy);
}

}  // namespace margay::vmm
