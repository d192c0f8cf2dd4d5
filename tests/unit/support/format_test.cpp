#include "support/format.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "proto/status.hpp"

namespace margay {
namespace {

template <typename... Arguments>
std::string text(std::string_view format, const Arguments&... arguments) {
    std::string s;
    print([&s](char c) { s += c; }, format, arguments...);
    return s;
}

TEST(Format, Numbers) {
    EXPECT_EQ(text("{}", 0), "0");
    EXPECT_EQ(text("{} {}", 42u, -42), "42 -42");
    EXPECT_EQ(text("{}", std::numeric_limits<std::uint64_t>::max()), "18446744073709551615");
    EXPECT_EQ(text("{}", std::numeric_limits<std::int64_t>::min()), "-9223372036854775808");
    EXPECT_EQ(text("{}", std::int8_t{-128}), "-128");
}

TEST(Format, Hexadecimal) {
    EXPECT_EQ(text("{x}", 0), "0");
    EXPECT_EQ(text("{x}", 0xdeadbeefu), "deadbeef");
    EXPECT_EQ(text("{X}", 0xabcu), "0000000000000abc");
    EXPECT_EQ(text("{X}", ~0ull), "ffffffffffffffff");
    EXPECT_EQ(text("{x}", std::int64_t{-1}), "ffffffffffffffff");
}

TEST(Format, TextCharactersTruthAndEnumerations) {
    EXPECT_EQ(text("{}{}{}", "ab", std::string_view{"cd"}, 'e'), "abcde");
    EXPECT_EQ(text("{} {}", true, false), "true false");
    EXPECT_EQ(text("{}", Status::no_memory), "6");
    EXPECT_EQ(text("{x}", HostPhys{0x1000}), "1000");
}

TEST(Format, StrayBracesAndMissingArgumentsPrintNothingExtra) {
    EXPECT_EQ(text("no arguments"), "no arguments");
    EXPECT_EQ(text("{} {}", 1), "1 ");
    EXPECT_EQ(text("tail {", 1), "tail 1");
    EXPECT_EQ(text("tail {x", 255), "tail ff");
    EXPECT_EQ(text("a}b"), "a}b");
    EXPECT_EQ(text("one", 1, 2, 3), "one");
    EXPECT_EQ(text(""), "");
}

}  // namespace
}  // namespace margay
