// What a VM's guest may see of the processor: the features that the key "cpu" of a manifest names. The number of a
// feature is its place in the table, which is part of the ABI: new ones come behind the last.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace margay {

// Where CPUID says whether there is one (AMD APM vol. 3 appendix E, Intel SDM vol. 2 CPUID).
enum class CpuidRegister : std::uint8_t { eax, ebx, ecx, edx };

struct CpuFeature {
    std::string_view name;  // as Linux has it in /proc/cpuinfo
    std::uint32_t leaf;
    std::uint8_t subleaf;
    CpuidRegister in;
    std::uint8_t bit;
    std::uint8_t level;  // of x86-64-vN (x86-64 psABI §3.1.1); 0: of none
};

constexpr CpuFeature cpu_features[] = {
    {"sse3", 1, 0, CpuidRegister::ecx, 0, 2},
    {"pclmulqdq", 1, 0, CpuidRegister::ecx, 1, 0},
    {"ssse3", 1, 0, CpuidRegister::ecx, 9, 2},
    {"fma", 1, 0, CpuidRegister::ecx, 12, 3},
    {"cx16", 1, 0, CpuidRegister::ecx, 13, 2},
    {"sse4_1", 1, 0, CpuidRegister::ecx, 19, 2},
    {"sse4_2", 1, 0, CpuidRegister::ecx, 20, 2},
    {"movbe", 1, 0, CpuidRegister::ecx, 22, 3},
    {"popcnt", 1, 0, CpuidRegister::ecx, 23, 2},
    {"aes", 1, 0, CpuidRegister::ecx, 25, 0},
    {"xsave", 1, 0, CpuidRegister::ecx, 26, 3},
    {"avx", 1, 0, CpuidRegister::ecx, 28, 3},
    {"f16c", 1, 0, CpuidRegister::ecx, 29, 3},
    {"rdrand", 1, 0, CpuidRegister::ecx, 30, 0},
    {"fsgsbase", 7, 0, CpuidRegister::ebx, 0, 0},
    {"bmi1", 7, 0, CpuidRegister::ebx, 3, 3},
    {"avx2", 7, 0, CpuidRegister::ebx, 5, 3},
    {"smep", 7, 0, CpuidRegister::ebx, 7, 0},
    {"bmi2", 7, 0, CpuidRegister::ebx, 8, 3},
    {"erms", 7, 0, CpuidRegister::ebx, 9, 0},
    {"avx512f", 7, 0, CpuidRegister::ebx, 16, 4},
    {"avx512dq", 7, 0, CpuidRegister::ebx, 17, 4},
    {"rdseed", 7, 0, CpuidRegister::ebx, 18, 0},
    {"adx", 7, 0, CpuidRegister::ebx, 19, 0},
    {"smap", 7, 0, CpuidRegister::ebx, 20, 0},
    {"avx512ifma", 7, 0, CpuidRegister::ebx, 21, 0},
    {"clflushopt", 7, 0, CpuidRegister::ebx, 23, 0},
    {"clwb", 7, 0, CpuidRegister::ebx, 24, 0},
    {"avx512cd", 7, 0, CpuidRegister::ebx, 28, 4},
    {"sha_ni", 7, 0, CpuidRegister::ebx, 29, 0},
    {"avx512bw", 7, 0, CpuidRegister::ebx, 30, 4},
    {"avx512vl", 7, 0, CpuidRegister::ebx, 31, 4},
    {"avx512vbmi", 7, 0, CpuidRegister::ecx, 1, 0},
    {"umip", 7, 0, CpuidRegister::ecx, 2, 0},
    {"pku", 7, 0, CpuidRegister::ecx, 3, 0},
    {"avx512_vbmi2", 7, 0, CpuidRegister::ecx, 6, 0},
    {"vaes", 7, 0, CpuidRegister::ecx, 9, 0},
    {"vpclmulqdq", 7, 0, CpuidRegister::ecx, 10, 0},
    {"avx512_vnni", 7, 0, CpuidRegister::ecx, 11, 0},
    {"avx512_bitalg", 7, 0, CpuidRegister::ecx, 12, 0},
    {"avx512_vpopcntdq", 7, 0, CpuidRegister::ecx, 14, 0},
    {"rdpid", 7, 0, CpuidRegister::ecx, 22, 0},
    {"fsrm", 7, 0, CpuidRegister::edx, 4, 0},
    {"avx512_vp2intersect", 7, 0, CpuidRegister::edx, 8, 0},
    {"xsaveopt", 0xd, 1, CpuidRegister::eax, 0, 0},
    {"xsavec", 0xd, 1, CpuidRegister::eax, 1, 0},
    {"xgetbv1", 0xd, 1, CpuidRegister::eax, 2, 0},
    {"lahf_lm", 0x8000'0001, 0, CpuidRegister::ecx, 0, 2},
    {"abm", 0x8000'0001, 0, CpuidRegister::ecx, 5, 3},
    {"sse4a", 0x8000'0001, 0, CpuidRegister::ecx, 6, 0},
    {"misalignsse", 0x8000'0001, 0, CpuidRegister::ecx, 7, 0},
    {"3dnowprefetch", 0x8000'0001, 0, CpuidRegister::ecx, 8, 0},
    {"xop", 0x8000'0001, 0, CpuidRegister::ecx, 11, 0},
    {"fma4", 0x8000'0001, 0, CpuidRegister::ecx, 16, 0},
    {"mmxext", 0x8000'0001, 0, CpuidRegister::edx, 22, 0},
    {"fxsr_opt", 0x8000'0001, 0, CpuidRegister::edx, 25, 0},
    {"pdpe1gb", 0x8000'0001, 0, CpuidRegister::edx, 26, 0},
    {"rdtscp", 0x8000'0001, 0, CpuidRegister::edx, 27, 0},
    {"3dnowext", 0x8000'0001, 0, CpuidRegister::edx, 30, 0},
    {"3dnow", 0x8000'0001, 0, CpuidRegister::edx, 31, 0},
    {"clzero", 0x8000'0008, 0, CpuidRegister::ebx, 0, 0},
};
constexpr std::size_t cpu_feature_count = sizeof(cpu_features) / sizeof(cpu_features[0]);
static_assert(cpu_feature_count <= 64, "a bit for each");

// A bit for each feature.
using CpuFeatures = std::uint64_t;
constexpr CpuFeatures all_cpu_features = ~CpuFeatures{0} >> (64 - cpu_feature_count);

// Calls use(leaf, subleaf) for what CPUID says, a structure with eax to edx.
template <typename Cpuid>
[[nodiscard]] constexpr CpuFeatures cpu_features_of(Cpuid cpuid) {
    const std::uint32_t last = cpuid(0u, 0u).eax, last_extended = cpuid(0x8000'0000u, 0u).eax;
    CpuFeatures found = 0;
    for (std::size_t i = 0; i < cpu_feature_count; ++i) {
        const CpuFeature& f = cpu_features[i];
        if (f.leaf > (f.leaf >= 0x8000'0000 ? last_extended : last)) continue;
        const auto r = cpuid(f.leaf, std::uint32_t{f.subleaf});
        const std::uint32_t words[] = {r.eax, r.ebx, r.ecx, r.edx};
        found |= CpuFeatures{words[static_cast<unsigned>(f.in)] >> f.bit & 1} << i;
    }
    return found;
}

// The first of them by number; there must be one.
[[nodiscard]] constexpr std::string_view first_cpu_feature(CpuFeatures features) {
    return cpu_features[__builtin_ctzll(features)].name;
}

// What a guest sees, if the node has it.
struct CpuModel {
    CpuFeatures hidden = 0;    // these it does not see
    CpuFeatures required = 0;  // without one of these the VM cannot be
};

// Reads the value of "cpu": words with commas between. The first may be "host", or "x86-64", "x86-64-v2", "-v3", "-v4":
// the features of that level and none else of the table. Others are -NAME and +NAME: a feature is hidden, or shown and
// required. Empty: as "host". False: one of the words means nothing.
[[nodiscard]] constexpr bool parse_cpu_model(std::string_view text, CpuModel& model) {
    constexpr std::string_view level_1 = "x86-64";
    model = {};
    for (bool first = true; !text.empty() || first; first = false) {
        std::size_t end = 0;
        while (end < text.size() && text[end] != ',') ++end;
        const bool is_last = end == text.size();
        std::string_view word{text.data(), end};
        text.remove_prefix(is_last ? end : end + 1);
        if (!is_last && text.empty()) return false;
        if (first && (word == "host" || (word.empty() && is_last))) continue;
        if (first && word.starts_with(level_1)) {
            word.remove_prefix(level_1.size());
            unsigned level = 1;
            if (word.size() == 3 && word[0] == '-' && word[1] == 'v' && word[2] >= '1' &&
                word[2] <= '4')
                level = static_cast<unsigned>(word[2] - '0');
            else if (!word.empty())
                return false;
            for (std::size_t i = 0; i < cpu_feature_count; ++i) {
                const bool is_in = cpu_features[i].level != 0 && cpu_features[i].level <= level;
                (is_in ? model.required : model.hidden) |= CpuFeatures{1} << i;
            }
            continue;
        }
        if (word.size() < 2 || (word[0] != '-' && word[0] != '+')) return false;
        const bool hides = word[0] == '-';
        word.remove_prefix(1);
        std::size_t i = 0;
        while (i < cpu_feature_count && cpu_features[i].name != word) ++i;
        if (i == cpu_feature_count) return false;
        const CpuFeatures bit = CpuFeatures{1} << i;
        model.hidden = hides ? model.hidden | bit : model.hidden & ~bit;
        model.required = hides ? model.required & ~bit : model.required | bit;
    }
    return true;
}

}  // namespace margay
