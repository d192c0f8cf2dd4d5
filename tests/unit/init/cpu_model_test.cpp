// The value of "cpu" and what it means (support/cpu_features.hpp).
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "support/cpu_features.hpp"

namespace margay {
namespace {

CpuFeatures bit(std::string_view name) {
    for (std::size_t i = 0; i < cpu_feature_count; ++i)
        if (cpu_features[i].name == name) return CpuFeatures{1} << i;
    ADD_FAILURE() << name;
    return 0;
}

CpuModel read(std::string_view text) {
    CpuModel model;
    EXPECT_TRUE(parse_cpu_model(text, model)) << text;
    return model;
}

TEST(CpuModel, NamesAndPlacesAreUnique) {
    std::set<std::string_view> names;
    std::set<std::string> places;
    for (const CpuFeature& f : cpu_features) {
        EXPECT_TRUE(names.insert(f.name).second) << f.name;
        EXPECT_TRUE(places
                        .insert(std::to_string(f.leaf) + "." + std::to_string(f.subleaf) + "." +
                                std::to_string(static_cast<unsigned>(f.in)) + "." +
                                std::to_string(f.bit))
                        .second)
            << f.name;
        EXPECT_LE(f.level, 4);
    }
}

TEST(CpuModel, TheHostHidesNothing) {
    for (const char* text : {"host", ""}) {
        EXPECT_EQ(read(text).hidden, 0u) << text;
        EXPECT_EQ(read(text).required, 0u) << text;
    }
}

TEST(CpuModel, FeaturesAreHiddenOrRequiredByName) {
    EXPECT_EQ(read("-aes").hidden, bit("aes"));
    EXPECT_EQ(read("-aes,-avx512f").hidden, bit("aes") | bit("avx512f"));
    EXPECT_EQ(read("host,-aes").hidden, bit("aes"));
    EXPECT_EQ(read("+aes").required, bit("aes"));
    EXPECT_EQ(read("+aes").hidden, 0u);
    const CpuModel last = read("-aes,+aes");
    EXPECT_EQ(last.hidden, 0u);
    EXPECT_EQ(last.required, bit("aes"));
}

TEST(CpuModel, ALevelIsAllOfItAndNothingElse) {
    EXPECT_EQ(read("x86-64").required, 0u);
    EXPECT_EQ(read("x86-64").hidden, all_cpu_features);
    EXPECT_EQ(read("x86-64-v1").hidden, all_cpu_features);
    EXPECT_EQ(read("x86-64-v2").required, bit("sse3") | bit("ssse3") | bit("cx16") | bit("sse4_1") |
                                              bit("sse4_2") | bit("popcnt") | bit("lahf_lm"));
    const CpuFeatures v3 = read("x86-64-v2").required | bit("avx") | bit("avx2") | bit("bmi1") |
                           bit("bmi2") | bit("f16c") | bit("fma") | bit("abm") | bit("movbe") |
                           bit("xsave");
    EXPECT_EQ(read("x86-64-v3").required, v3);
    EXPECT_EQ(read("x86-64-v4").required, v3 | bit("avx512f") | bit("avx512bw") | bit("avx512cd") |
                                              bit("avx512dq") | bit("avx512vl"));
    for (const char* text : {"x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"})
        EXPECT_EQ(read(text).hidden ^ read(text).required, all_cpu_features) << text;
    const CpuModel more = read("x86-64-v3,+aes,-fma");
    EXPECT_EQ(more.required, (v3 | bit("aes")) & ~bit("fma"));
    EXPECT_EQ(more.hidden ^ more.required, all_cpu_features);
}

TEST(CpuModel, AnythingElseIsRefused) {
    CpuModel model;
    for (const char* text : {"x86-64-v0", "x86-64-v5",  "x86-64-v22", "x86-64v2",
                             "x86-64-",   "-",          "+",          "aes",
                             "-nothing",  "-AES",       "host,",      ",-aes",
                             "-aes,",     "-aes,,-avx", "-aes,host",  "-aes,x86-64-v2",
                             " -aes",     "-aes ",      "hos",        "x86-64-v2,x86-64-v3"})
        EXPECT_FALSE(parse_cpu_model(text, model)) << text;
}

TEST(CpuModel, WhatAProcessorHas) {
    struct Result {
        std::uint32_t eax, ebx, ecx, edx;
    };
    const auto processor = [](std::uint32_t leaf, std::uint32_t subleaf) -> Result {
        switch (leaf) {
        case 0: return {7, 0, 0, 0};
        case 1: return {0, 0, 1u << 25 | 1, 0};
        case 7: return subleaf == 0 ? Result{0, 1u << 5, 0, 0} : Result{};
        case 0x8000'0000: return {0x8000'0001, 0, 0, 0};
        case 0x8000'0001: return {0, 0, 1, 1u << 27};
        default: return {~0u, ~0u, ~0u, ~0u};  // leaves that there are not
        }
    };
    const CpuFeatures found = cpu_features_of(processor);
    EXPECT_EQ(found, bit("aes") | bit("sse3") | bit("avx2") | bit("lahf_lm") | bit("rdtscp"));
    EXPECT_EQ(first_cpu_feature(bit("avx2") | bit("rdtscp")), "avx2");
}

}  // namespace
}  // namespace margay
