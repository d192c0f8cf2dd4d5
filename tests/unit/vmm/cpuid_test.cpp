#include "servers/vmm/cpu/cpuid.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace margay::vmm {
namespace {

class CpuidTest : public ::testing::Test {
  protected:
    CpuidTest() { build_cpuid(state, {2'500'000, 3, 40, 1}, test::generous_cpuid); }

    CpuidResult get(std::uint32_t leaf, std::uint32_t subleaf = 0) const {
        return lookup_cpuid(state, leaf, subleaf);
    }
    static bool bit(std::uint32_t value, unsigned number) { return (value >> number & 1) != 0; }

    CpuidState state;
};

TEST_F(CpuidTest, table_holds_everything) { EXPECT_EQ(state.overflow, 0); }

TEST_F(CpuidTest, vendor_and_limits) {
    EXPECT_EQ(get(0).eax, 0xdU);
    EXPECT_EQ(get(0).ebx, 0x6874'7541U);
    EXPECT_EQ(get(0x8000'0000).eax, 0x8000'001aU);
    EXPECT_EQ(get(0x4000'0000).eax, 0x4000'0010U);
}

TEST_F(CpuidTest, what_the_vmm_lacks_is_hidden) {
    const auto one = get(1);
    for (const auto number : {2U, 3U, 4U, 5U, 6U, 7U, 8U, 10U, 15U, 17U, 18U, 27U}) {
        EXPECT_FALSE(bit(one.ecx, number)) << number;  // MONITOR … PCID, OSXSAVE
    }
    EXPECT_FALSE(bit(one.edx, 28));  // hyper-threading
    const auto seven = get(7);
    EXPECT_EQ(seven.eax, 0U);
    for (const auto number : {2U, 4U, 10U, 11U, 12U, 14U, 15U, 25U, 26U, 27U}) {
        EXPECT_FALSE(bit(seven.ebx, number)) << number;  // INVPCID, MPX, …
    }
    EXPECT_FALSE(bit(seven.ecx, 4));   // OSPKE
    EXPECT_FALSE(bit(seven.ecx, 16));  // 5-level paging
    EXPECT_FALSE(bit(seven.edx, 26));  // SPEC_CTRL
    const auto extended = get(0x8000'0001);
    for (const auto number : {2U, 3U, 9U, 10U, 12U, 15U, 21U, 22U, 23U, 29U}) {
        EXPECT_FALSE(bit(extended.ecx, number)) << number;  // SVM, LWP, …
    }
    EXPECT_EQ(get(0xd).eax, 0x2e7U);  // no MPX
    EXPECT_EQ(get(0xd, 1).eax, 7U);   // no XSAVES
    EXPECT_EQ(get(0xd, 3).eax, 0U);
    EXPECT_EQ(get(0xd, 10).eax, 0U);
    EXPECT_EQ(get(0xa).eax, 0U);
    EXPECT_EQ(get(5).eax, 0U);
    EXPECT_EQ(get(0x8000'000a).edx, 0U);
}

TEST_F(CpuidTest, what_the_vmm_models_is_shown) {
    const auto one = get(1);
    EXPECT_TRUE(bit(one.ecx, 21));  // x2APIC
    EXPECT_TRUE(bit(one.ecx, 24));  // TSC deadline
    EXPECT_TRUE(bit(one.ecx, 31));  // hypervisor
    EXPECT_TRUE(bit(one.edx, 9));
    EXPECT_TRUE(bit(one.edx, 7) && bit(one.edx, 14));  // machine checks
    EXPECT_EQ(one.ebx >> 24, 3U);
    EXPECT_EQ(one.ebx >> 16 & 0xff, 1U);
    EXPECT_TRUE(bit(get(6).eax, 2));             // ARAT
    EXPECT_TRUE(bit(get(7).ebx, 1));             // TSC_ADJUST
    EXPECT_TRUE(bit(get(7).ebx, 20));            // SMAP
    EXPECT_TRUE(bit(get(0x8000'0001).edx, 27));  // RDTSCP
    EXPECT_EQ(get(0x8000'0007).edx, 0x100U);
    EXPECT_EQ(get(0x8000'0008).eax & 0xff, 40U);
}

// A processor whose only vector parts are these bits of XCR0.
std::uint32_t host_xcr0;
bool host_has_pku;
CpuidResult vector_cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
    constexpr CpuidResult part[10] = {
        {0, 0, 0, 0},     {0, 0, 0, 0},      {256, 576, 0, 0},   {64, 960, 0, 0}, {64, 1024, 0, 0},
        {64, 1088, 0, 0}, {512, 1152, 2, 0}, {1024, 1664, 2, 0}, {0, 0, 0, 0},    {8, 2688, 0, 0}};
    if (leaf == 7) return {~0U, ~0U, host_has_pku ? ~0U : ~8U, ~0U};
    if (leaf != 0xd) return test::generous_cpuid(leaf, subleaf);
    if (subleaf == 0) return {host_xcr0, 1, 2, 3};
    return subleaf == 1 ? CpuidResult{0xf, 1, 2, 3} : subleaf < 10 ? part[subleaf] : CpuidResult{};
}

TEST_F(CpuidTest, vector_units_are_shown_as_the_host_has_them) {
    const auto build = [&](std::uint32_t xcr0, bool pku) {
        host_xcr0 = xcr0;
        host_has_pku = pku;
        build_cpuid(state, {2'500'000, 0, 40, 1}, vector_cpuid);
        return get(0xd).eax;
    };
    EXPECT_EQ(build(0x2ff, true), 0x2e7U);
    EXPECT_TRUE(bit(get(1).ecx, 28) && bit(get(7).ebx, 5) && bit(get(7).ebx, 16) &&
                bit(get(7).ecx, 3));
    EXPECT_EQ(get(0xd).ecx, 2696U) << "bytes of all parts";
    EXPECT_EQ(build(0x207, false), 7U);
    EXPECT_TRUE(bit(get(1).ecx, 28) && bit(get(7).ebx, 5));
    EXPECT_FALSE(bit(get(7).ebx, 16) || bit(get(7).ecx, 3) || bit(get(7).ecx, 11));
    EXPECT_EQ(get(0xd).ecx, 832U);
    EXPECT_EQ(build(0x67, false), 7U) << "half of AVX-512 is none";
    EXPECT_EQ(build(3, false), 3U);
    EXPECT_TRUE(bit(get(1).ecx, 26));
    EXPECT_FALSE(bit(get(1).ecx, 12) || bit(get(1).ecx, 28) || bit(get(1).ecx, 29) ||
                 bit(get(7).ebx, 5) || bit(get(7).ecx, 9) || bit(get(0x8000'0001).ecx, 11));
    EXPECT_EQ(build(1, false), 0U);
    EXPECT_FALSE(bit(get(1).ecx, 26));
}

TEST_F(CpuidTest, what_the_policy_hides_is_hidden_with_what_needs_it) {
    host_xcr0 = 0x2ff;
    host_has_pku = true;
    const auto build = [&](std::string_view text) {
        CpuModel model;
        EXPECT_TRUE(parse_cpu_model(text, model));
        build_cpuid(state, {2'500'000, 0, 40, 1, model.hidden}, vector_cpuid);
        EXPECT_EQ(state.overflow, 0);
    };
    build("-aes,-sse4a");
    EXPECT_FALSE(bit(get(1).ecx, 25) || bit(get(0x8000'0001).ecx, 6));
    EXPECT_TRUE(bit(get(1).ecx, 20) && bit(get(7).ebx, 16) && bit(get(0x8000'0001).ecx, 5));
    EXPECT_EQ(get(0xd).eax, 0x2e7U);
    build("-avx512f");
    EXPECT_EQ(get(0xd).eax, 0x207U);
    EXPECT_TRUE(bit(get(7).ebx, 5));
    EXPECT_FALSE(bit(get(7).ebx, 16) || bit(get(7).ebx, 31) || bit(get(7).ecx, 11));
    build("-avx");
    EXPECT_EQ(get(0xd).eax, 0x203U);
    EXPECT_FALSE(bit(get(1).ecx, 28) || bit(get(1).ecx, 12) || bit(get(7).ebx, 5) ||
                 bit(get(7).ecx, 9));
    build("-xsave");
    EXPECT_EQ(get(0).eax, 0xbU);
    EXPECT_FALSE(bit(get(1).ecx, 26) || bit(get(1).ecx, 28) || bit(get(7).ecx, 3));
    build("-pku");
    EXPECT_EQ(get(0xd).eax, 0xe7U);
    build("x86-64-v3");
    EXPECT_EQ(get(0xd).eax, 7U);
    EXPECT_TRUE(bit(get(1).ecx, 28) && bit(get(7).ebx, 5));
    EXPECT_FALSE(bit(get(1).ecx, 25) || bit(get(7).ebx, 7) || bit(get(7).ebx, 16));
    EXPECT_EQ(get(0xd, 1).eax, 0U);
    build("x86-64");
    EXPECT_EQ(get(0).eax, 0xbU);
    EXPECT_TRUE(bit(get(0x8000'0001).edx, 29) && bit(get(0x8000'0001).edx, 20)) << "LM and NX";
}

TEST_F(CpuidTest, no_apic_is_shown_while_it_is_disabled) {
    for (const auto leaf : {1U, 0x8000'0001U}) {
        auto r = get(leaf);
        const auto before = r.edx;
        EXPECT_TRUE(bit(before, 9));
        show_apic(r, true);
        EXPECT_EQ(r.edx, before);
        show_apic(r, false);
        EXPECT_EQ(r.edx, before & ~(1U << 9));
    }
}

TEST_F(CpuidTest, sizes_follow_xcr0) {
    host_xcr0 = 0x2ff;
    host_has_pku = true;
    build_cpuid(state, {2'500'000, 0, 40, 1}, vector_cpuid);
    const auto size = [&](std::uint32_t subleaf, std::uint64_t xcr0) {
        auto r = get(0xd, subleaf);
        show_xsave_size(r, subleaf, xcr0, state);
        return r.ebx;
    };
    EXPECT_EQ(size(0, 1), 576U);
    EXPECT_EQ(size(0, 3), 576U);
    EXPECT_EQ(size(0, 7), 832U);
    EXPECT_EQ(size(0, 0xe7), 2688U);
    EXPECT_EQ(size(0, 0x203), 2696U);
    EXPECT_EQ(size(1, 7), 832U);
    EXPECT_EQ(size(1, 0xe7), 832U + 64 + 512 + 1024) << "compacted, each part aligned";
    EXPECT_EQ(size(1, 0x203), 584U);
    auto one = get(1);
    EXPECT_FALSE(bit(one.ecx, 27));
    show_osxsave(one, 1 << 18);
    EXPECT_TRUE(bit(one.ecx, 27));
    auto seven = get(7);
    show_ospke(seven, 1, 1 << 22);
    EXPECT_FALSE(bit(seven.ecx, 4)) << "in the first sub-leaf only";
    show_ospke(seven, 0, 1 << 22);
    EXPECT_TRUE(bit(seven.ecx, 4));
}

TEST_F(CpuidTest, leaves_that_follow_registers) {
    for (const std::uint32_t leaf : {1U, 7U, 0xbU, 0xdU, 0x8000'0001U})
        EXPECT_TRUE(follows_registers(leaf)) << leaf;
    // Among them one whose low bits are those of leaf 1.
    for (const std::uint32_t leaf : {0U, 2U, 6U, 8U, 0xcU, 0x1fU, 0x20U, 0x21U, 0x4000'0001U,
                                     0x8000'0000U, 0x8000'0002U, 0x8000'0007U, 0x8000'001aU, ~0U})
        EXPECT_FALSE(follows_registers(leaf)) << leaf;
}

TEST_F(CpuidTest, models_are_shown_even_if_the_host_lacks_them) {
    build_cpuid(state, {2'500'000, 0, 40, 1}, [](std::uint32_t leaf, std::uint32_t) -> CpuidResult {
        return leaf == 0x8000'0000 ? CpuidResult{0x8000'0004, 0, 0, 0}
                                   : CpuidResult{leaf == 0 ? 1U : 0U, 0, 0, 0};
    });
    EXPECT_EQ(get(1).ecx, 1U << 21 | 1U << 24 | 1U << 31);
    EXPECT_EQ(get(7).ebx, 2U);
    EXPECT_EQ(get(0x8000'0000).eax, 0x8000'0008U);
    EXPECT_EQ(get(0x8000'0008).eax, 0x3000U | 40);
}

TEST_F(CpuidTest, kvm_signature_and_features) {
    const auto signature = get(0x4000'0000, 77);
    char text[13] = {};
    std::memcpy(text, &signature.ebx, 4);
    std::memcpy(text + 4, &signature.ecx, 4);
    std::memcpy(text + 8, &signature.edx, 4);
    EXPECT_STREQ(text, "KVMKVMKVM");
    EXPECT_EQ(get(0x4000'0001).eax, 1U << 0 | 1U << 1 | 1U << 3 | 1U << 5 | 1U << 6 | 1U << 24);
    EXPECT_EQ(get(0x4000'0010).eax, 2'500'000U);
    // Kicks and IPIs by hypercall: where there is another vCPU.
    build_cpuid(state, {2'500'000, 0, 40, 2}, test::generous_cpuid);
    EXPECT_EQ(get(0x4000'0001).eax, 0x100'006bU | 1U << 7 | 1U << 9 | 1U << 11);
}

TEST_F(CpuidTest, topology_is_one_core) {
    EXPECT_EQ(get(0xb, 0).ebx, 1U);
    EXPECT_EQ(get(0xb, 0).ecx, 0x100U);
    EXPECT_EQ(get(0xb, 1).ecx, 0x201U);
    EXPECT_EQ(get(0xb, 0).edx, 3U);
    EXPECT_EQ(get(0xb, 2).ebx, 0U);
    EXPECT_EQ(get(0xb, 2).ecx, 2U);
    EXPECT_EQ(get(0xb, 2).edx, 3U);
}

TEST_F(CpuidTest, subleaves_beyond_the_last_are_zero) {
    EXPECT_EQ(get(7, 1).eax | get(7, 1).ebx | get(7, ~0U).ebx, 0U);
    EXPECT_NE(get(1, 5).edx, 0U);  // leaf 1 has none
}

TEST_F(CpuidTest, unknown_leaves_are_zero) {
    for (const auto leaf : {0x20U, 0xffU, 0x3fff'ffffU, 0x4000'0011U, 0x4000'0100U, 0x7fff'ffffU,
                            0x8000'0022U, ~0U}) {
        const auto result = get(leaf);
        EXPECT_EQ(result.eax | result.ebx | result.ecx | result.edx, 0U) << leaf;
    }
}

TEST(Cpuid, several_processors_are_cores_of_one_package) {
    CpuidState state;
    build_cpuid(state, {2'500'000, 0, 40, 6}, test::generous_cpuid);
    auto one = lookup_cpuid(state, 1, 0);
    EXPECT_EQ(one.ebx >> 16 & 0xff, 6U);
    EXPECT_NE(one.edx & 1U << 28, 0U);
    show_apic_id(one, 1, 5);
    EXPECT_EQ(one.ebx >> 24, 5U);
    auto cores = lookup_cpuid(state, 0xb, 1);
    EXPECT_EQ(cores.eax, 3U);
    EXPECT_EQ(cores.ebx, 6U);
    show_apic_id(cores, 0xb, 5);
    EXPECT_EQ(cores.edx, 5U);
    EXPECT_EQ(lookup_cpuid(state, 0xb, 0).eax, 0U);
    EXPECT_EQ(lookup_cpuid(state, 0x8000'0008, 0).ecx, 3U << 12 | 5U);
    EXPECT_NE(lookup_cpuid(state, 0x8000'0001, 0).ecx & 2U, 0U);
    EXPECT_EQ(state.overflow, 0);
}

}  // namespace
}  // namespace margay::vmm
