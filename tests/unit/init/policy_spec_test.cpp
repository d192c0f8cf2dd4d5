#include "servers/init/policy_spec.hpp"

#include <gtest/gtest.h>

#include <string>

namespace margay::init {
namespace {

PolicySpec good(std::string_view text) {
    PolicySpec spec;
    const Failure f = parse_policy(text, spec);
    EXPECT_FALSE(f.is_set()) << f.text;
    return spec;
}

std::string refused(std::string_view text) {
    PolicySpec spec;
    const Failure f = parse_policy(text, spec);
    EXPECT_EQ(f.kind, FailureKind::usage);
    return f.text;
}

constexpr ExitClasses bit(ExitClass c) { return 1u << static_cast<unsigned>(c); }

TEST(PolicySpec, ClassesModuleAndOptions) {
    const PolicySpec one = good("cpuid count");
    EXPECT_EQ(one.classes, bit(ExitClass::cpuid));
    EXPECT_STREQ(one.module, "count");
    EXPECT_STREQ(one.options, "");
    EXPECT_FALSE(one.with_state);
    const PolicySpec more = good("halt,invalid-state,cpuid  m  with-state  a=1  b ");
    EXPECT_EQ(more.classes,
              bit(ExitClass::halt) | bit(ExitClass::invalid_state) | bit(ExitClass::cpuid));
    EXPECT_TRUE(more.with_state);
    EXPECT_STREQ(more.options, "a=1  b ") << "they are the policy's own affair";
    EXPECT_EQ(good("all m").classes, (1u << exit_classes) - 1);
    EXPECT_STREQ(good("all m with-states").options, "with-states");
}

TEST(PolicySpec, EveryClassHasAName) {
    for (unsigned c = 0; c < exit_classes; ++c) {
        std::string name = to_text(static_cast<ExitClass>(c));
        for (char& x : name)
            if (x == ' ') x = '-';
        EXPECT_EQ(good(name + " m").classes, 1u << c) << name;
    }
}

TEST(PolicySpec, WhatIsRefused) {
    EXPECT_EQ(refused(""), "say CLASS[,CLASS...] and the policy's MODULE");
    EXPECT_EQ(refused("cpuid"), "say CLASS[,CLASS...] and the policy's MODULE");
    EXPECT_EQ(refused("cpu m"), "there is no exit class 'cpu'");
    EXPECT_EQ(refused("cpuid,,halt m"), "there is no exit class ''");
    EXPECT_EQ(refused("cpuid, m"), "there is no exit class ''");
    EXPECT_EQ(refused("invalid state m"), "there is no exit class 'invalid'");
    EXPECT_EQ(refused("cpuid " + std::string(max_name, 'm')), "the module's name is too long");
    EXPECT_EQ(refused("cpuid m " + std::string(max_policy_options, 'o')),
              "options have at most 255 bytes");
    EXPECT_EQ(refused(std::string(300, 'c') + " m"),
              "there is no exit class '" + std::string(32, 'c') + "'");
}

}  // namespace
}  // namespace margay::init
