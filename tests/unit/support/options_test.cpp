#include "support/options.hpp"

#include <gtest/gtest.h>

namespace margay {
namespace {

TEST(Options, FindsWords) {
    EXPECT_EQ(find_option("quiet log=0x3e8 x", "log"), "0x3e8");
    EXPECT_EQ(find_option("quiet log=0x3e8", "quiet"), "");
    EXPECT_EQ(find_option("log= a", "log"), "");
    EXPECT_FALSE(find_option("blog=1 logs=2", "log"));
    EXPECT_FALSE(find_option("", "log"));
    EXPECT_EQ(find_option("a=1 a=2", "a"), "1");
    EXPECT_EQ(find_option("  a=1  ", "a"), "1");
}

TEST(Options, ReadsNumbers) {
    EXPECT_EQ(find_number("log=0x3e8", "log"), 0x3e8u);
    EXPECT_EQ(find_number("every=120 at=7", "at"), 7u);
    EXPECT_EQ(find_number("a=18446744073709551615", "a"), ~0ull);
    EXPECT_FALSE(find_number("a=18446744073709551616", "a"));
    EXPECT_FALSE(find_number("a=", "a"));
    EXPECT_FALSE(find_number("a", "a"));
    EXPECT_FALSE(find_number("a=0x", "a"));
    EXPECT_FALSE(find_number("a=12f", "a"));
    EXPECT_FALSE(find_number("a=-1", "a"));
}

}  // namespace
}  // namespace margay
