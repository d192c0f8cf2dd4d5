#include "servers/vmm/cpu/cpuid.hpp"

#include "proto/vcpu_state.hpp"

#include <algorithm>
#include <bit>
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
// FMA XSAVE AVX F16C
constexpr auto basic_ecx_vector = bits({12, 26, 28, 29});
constexpr auto basic_ecx_set = bits({21, 24, 31});  // x2APIC, TSC deadline, hypervisor
// FPU VME DE PSE TSC MSR PAE CX8 SEP PGE CMOV PSE36 CLFSH MMX FXSR SSE SSE2
constexpr auto basic_edx_pass = bits({0, 1, 2, 3, 4, 5, 6, 8, 11, 13, 15, 17, 19, 23, 24, 25, 26});
constexpr auto basic_edx_set = bits({7, 9, 12, 14, 16});  // MCE, APIC, MTRR, MCA, PAT

constexpr auto basic_edx_several = bits({28});  // HTT: EBX says how many

constexpr auto power_eax_set = bits({2});  // ARAT: the APIC timer does not stop

// FSGSBASE BMI1 SMEP BMI2 ERMS RDSEED ADX SMAP CLFLUSHOPT CLWB SHA
constexpr auto structured_ebx_pass = bits({0, 3, 7, 8, 9, 18, 19, 20, 23, 24, 29});
// AVX2; with AVX-512: F DQ IFMA CD BW VL
constexpr auto structured_ebx_vector = bits({5});
constexpr auto structured_ebx_wide = bits({16, 17, 21, 28, 30, 31});
constexpr auto structured_ebx_set = bits({1});       // TSC_ADJUST
constexpr auto structured_ecx_pass = bits({2, 22});  // UMIP RDPID
// PKU; VAES VPCLMULQDQ; with AVX-512: VBMI VBMI2 VNNI BITALG VPOPCNTDQ
constexpr auto structured_ecx_pku = bits({3});
constexpr auto structured_ecx_vector = bits({9, 10});
constexpr auto structured_ecx_wide = bits({1, 6, 11, 12, 14});
constexpr auto structured_edx_pass = bits({4});  // FSRM
constexpr auto structured_edx_wide = bits({8});  // VP2INTERSECT

// LAHF, CR8 by LOCK MOV CR0, ABM, SSE4A, misaligned SSE, 3DNow! prefetch
constexpr auto extended_ecx_pass = bits({0, 4, 5, 6, 7, 8});
constexpr auto extended_ecx_several = bits({1});      // CmpLegacy: they are cores
constexpr auto extended_ecx_vector = bits({11, 16});  // XOP FMA4
// as leaf 1, and SYSCALL NX MMXEXT FFXSR PDPE1GB RDTSCP LM 3DNowExt 3DNow
constexpr auto extended_edx_pass =
    bits({0, 1, 2, 3, 4, 5, 6, 8, 11, 13, 15, 17, 20, 22, 23, 24, 25, 26, 27, 29, 30, 31});
constexpr auto extended_edx_set = basic_edx_set;

constexpr auto invariant_tsc = bits({8});
constexpr auto capacity_ebx_pass = bits({0});  // CLZERO

// Linux arch/x86/include/uapi/asm/kvm_para.h: clock at the old and the new MSRs, no I/O delay needed, steal time, EOI in
// memory, clock stable across vCPUs.
constexpr auto kvm_features = bits({0, 1, 3, 5, 6, 24});
// With several vCPUs: halts end by a kick, TLBs are flushed by a mark, a hypercall sends IPIs. Not without: Linux spins in
// vain for nobody then.
constexpr auto kvm_features_several = bits({7, 9, 11});
constexpr std::uint32_t apic_bus_khz = 1'000'000;

constexpr std::uint32_t last_basic = 0x0b, last_basic_with_xsave = 0x0d;
constexpr auto xsave_pass = bits({0, 1, 2});  // XSAVEOPT XSAVEC XGETBV with ECX 1; no XSAVES
constexpr std::uint32_t xsave_parts = 10;     // bits of XCR0 that may be shown: 0 to 9
constexpr std::uint32_t xsave_least = 576;    // bytes of the FXSAVE image and the header
constexpr std::uint32_t last_extended = 0x8000'001a;
constexpr std::uint32_t least_extended = 0x8000'0008;
constexpr std::uint32_t first_hypervisor = 0x4000'0000;
constexpr std::uint32_t last_hypervisor = 0x4000'0010;

// Bits of an APIC id that tell cores of one package apart.
constexpr std::uint32_t core_id_bits(std::uint32_t cores) {
    return static_cast<std::uint32_t>(std::bit_width(cores - 1));
}

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

// The host without what is hidden.
class Processor {
  public:
    Processor(HostCpuid host, CpuFeatures hidden) noexcept : host_{host}, hidden_{hidden} {}

    CpuidResult operator()(std::uint32_t leaf, std::uint32_t subleaf) const noexcept {
        auto r = host_(leaf, subleaf);
        std::uint32_t* const words[] = {&r.eax, &r.ebx, &r.ecx, &r.edx};
        for (auto left = hidden_; left != 0; left &= left - 1) {
            const auto& f = cpu_features[std::countr_zero(left)];
            if (f.leaf == leaf && f.subleaf == subleaf) {
                *words[static_cast<unsigned>(f.in)] &= ~(1U << f.bit);
            }
        }
        return r;
    }

  private:
    HostCpuid host_;
    CpuFeatures hidden_;
};

// Parts of XCR0 that are shown: x87, SSE, AVX, AVX-512, protection keys. 0 without XSAVE.
std::uint32_t shown_xcr0(const Processor& host) noexcept {
    constexpr std::uint32_t legacy = xcr0::x87 | xcr0::sse;
    if (host(0, 0).eax < 0xd || (host(1, 0).ecx >> 26 & 1) == 0) {
        return 0;
    }
    auto shown = host(0xd, 0).eax &
                 static_cast<std::uint32_t>(legacy | xcr0::avx | xcr0::avx512 | xcr0::pkru);
    if ((shown & legacy) != legacy) {
        return 0;
    }
    // A part without the instructions for it would be of no use, and is not when they are hidden.
    if ((host(1, 0).ecx >> 28 & 1) == 0) {
        shown &= ~static_cast<std::uint32_t>(xcr0::avx);
    }
    if ((shown & xcr0::avx) == 0 || (shown & xcr0::avx512) != xcr0::avx512 ||
        (host(7, 0).ebx >> 16 & 1) == 0) {
        shown &= ~static_cast<std::uint32_t>(xcr0::avx512);
    }
    if ((host(7, 0).ecx & structured_ecx_pku) == 0) {
        shown &= ~static_cast<std::uint32_t>(xcr0::pkru);
    }
    return shown;
}

std::uint32_t size_up_to(std::uint32_t end, std::uint32_t part_offset, std::uint32_t part_size) {
    return std::max(end, part_offset + part_size);
}

void build_xsave(Builder& builder, CpuidState& state, std::uint32_t shown,
                 const Processor& host) noexcept {
    if (shown == 0) {
        return;
    }
    auto& range = state.basic[0xd];
    builder.append(range, {shown, 0, 0, 0});
    builder.append(range, {host(0xd, 1).eax & xsave_pass, 0, 0, 0});
    auto end = xsave_least;
    for (std::uint32_t part = 2; part < xsave_parts; ++part) {
        auto r = (shown >> part & 1) != 0 ? host(0xd, part) : CpuidResult{};
        r.ecx &= 2;  // alignment in the compacted form; none is a supervisor's
        r.edx = 0;
        builder.append(range, r);
        end = size_up_to(end, r.ebx, r.eax);
    }
    state.entry[range.first].ecx = end;
}

void build_basic(Builder& builder, CpuidState& state, const CpuidPolicy& policy,
                 const Processor& host) noexcept {
    const auto vendor = host(0, 0);
    const auto host_last = vendor.eax;
    const auto shown = shown_xcr0(host);
    builder.basic(
        0, {shown != 0 ? last_basic_with_xsave : last_basic, vendor.ebx, vendor.ecx, vendor.edx});

    const auto one = host(1, 0);
    const auto clflush_line = one.ebx & 0xff00;
    const auto vector = (shown & xcr0::avx) != 0 ? basic_ecx_vector : bits({26});  // XSAVE
    const std::uint32_t cores = policy.cpus;
    builder.basic(
        1, {one.eax, policy.apic_id << 24 | cores << 16 | clflush_line,
            (one.ecx & (basic_ecx_pass | (shown != 0 ? vector : 0U))) | basic_ecx_set,
            (one.edx & basic_edx_pass) | basic_edx_set | (cores > 1 ? basic_edx_several : 0)});
    builder.basic(6, {power_eax_set, 0, 0, 0});
    const auto seven = host_last >= 7 ? host(7, 0) : CpuidResult{};
    const auto with = [shown](std::uint64_t parts, std::uint32_t features) {
        return (shown & parts) != 0 ? features : 0U;
    };
    builder.append(state.basic[7],
                   {0,
                    (seven.ebx & (structured_ebx_pass | with(xcr0::avx, structured_ebx_vector) |
                                  with(xcr0::avx512, structured_ebx_wide))) |
                        structured_ebx_set,
                    seven.ecx & (structured_ecx_pass | with(xcr0::avx, structured_ecx_vector) |
                                 with(xcr0::avx512, structured_ecx_wide) |
                                 with(xcr0::pkru, structured_ecx_pku)),
                    seven.edx & (structured_edx_pass | with(xcr0::avx512, structured_edx_wide))});
    // One thread in each core.
    builder.append(state.basic[0xb], {0, 1, 1U << 8 | 0, policy.apic_id});
    builder.append(state.basic[0xb], {core_id_bits(cores), cores, 2U << 8 | 1, policy.apic_id});
    build_xsave(builder, state, shown, host);
}

void build_extended(Builder& builder, const CpuidPolicy& policy, const Processor& host) noexcept {
    const auto zero = host(0x8000'0000, 0);
    const auto host_last = zero.eax;
    const auto last = std::clamp(host_last, least_extended, last_extended);
    builder.extended(0x8000'0000, {last, zero.ebx, zero.ecx, zero.edx});
    const auto one = host(0x8000'0001, 0);
    builder.extended(
        0x8000'0001,
        {one.eax, one.ebx,
         (one.ecx &
          (extended_ecx_pass | ((shown_xcr0(host) & xcr0::avx) != 0 ? extended_ecx_vector : 0U))) |
             (policy.cpus > 1 ? extended_ecx_several : 0U),
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
    builder.extended(0x8000'0008,
                     {(eight.eax & 0xff00) | policy.physical_bits, eight.ebx & capacity_ebx_pass,
                      policy.cpus > 1 ? core_id_bits(policy.cpus) << 12 | (policy.cpus - 1U) : 0U,
                      0});
}

void build_hypervisor(Builder& builder, const CpuidPolicy& policy) noexcept {
    // "KVMKVMKVM\0\0\0"
    builder.hypervisor(first_hypervisor, {last_hypervisor, 0x4b4d'564b, 0x564b'4d56, 0x0000'004d});
    const auto several = policy.cpus > 1 ? kvm_features_several : 0;
    builder.hypervisor(first_hypervisor + 1, {kvm_features | several, 0, 0, 0});
    builder.hypervisor(last_hypervisor,
                       {static_cast<std::uint32_t>(policy.tsc_khz), apic_bus_khz, 0, 0});
}

}  // namespace

void build_cpuid(CpuidState& state, const CpuidPolicy& policy, HostCpuid whole) noexcept {
    Builder builder{state};
    const Processor host{whole, policy.hidden};
    build_basic(builder, state, policy, host);
    build_extended(builder, policy, host);
    build_hypervisor(builder, policy);
}

void show_xsave_size(CpuidResult& leaf_d, std::uint32_t subleaf, std::uint64_t enabled,
                     const CpuidState& state) noexcept {
    const auto& range = state.basic[0xd];
    // Without XSAVEC the second one says nothing.
    if (range.count < xsave_parts || (subleaf == 1 && (leaf_d.eax & 2) == 0)) {
        return;
    }
    auto end = xsave_least;
    for (std::uint32_t part = 2; part < xsave_parts; ++part) {
        const auto& entry = state.entry[range.first + part];
        if ((enabled >> part & 1) == 0) {
            continue;
        }
        if (subleaf == 0) {
            end = size_up_to(end, entry.ebx, entry.eax);
        } else {
            const auto begin = (entry.ecx & 2) != 0 ? (end + 63) & ~63U : end;
            end = begin + entry.eax;
        }
    }
    leaf_d.ebx = end;
}

}  // namespace margay::vmm
