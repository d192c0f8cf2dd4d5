#include "support/foreign_text.hpp"

#include <gtest/gtest.h>

#include <concepts>
#include <cstring>
#include <random>
#include <string>

#include "support/format.hpp"

namespace margay {
namespace {

// What is in the shared memory becomes text in no other way than by copy().
static_assert(!std::convertible_to<ForeignText<8>, const char*>);
static_assert(!std::convertible_to<ForeignText<8>, std::string_view>);
static_assert(!std::constructible_from<FormatArgument, ForeignText<8>>);
static_assert(sizeof(ForeignText<104>) == 104);

TEST(ForeignText, ComesOutAsItWasWritten) {
    ForeignText<16> text{};
    EXPECT_EQ(text.copy().view(), "");
    text.write("a reason");
    EXPECT_EQ(text.copy().view(), "a reason");
    EXPECT_STREQ(text.copy().c_str(), "a reason");
    text.write("sixteen and more bytes");
    EXPECT_EQ(text.copy().view(), "sixteen and mor");
}

TEST(ForeignText, WithoutAnEndItEndsWithTheArray) {
    struct {
        ForeignText<8> text;
        char behind[8];
    } page;
    std::memset(&page, 'X', sizeof(page));
    EXPECT_EQ(page.text.copy().view(), "XXXXXXX");
    EXPECT_EQ(std::strlen(page.text.copy().c_str()), 7u);
}

TEST(ForeignText, WhatMovesATerminalIsAQuestionMark) {
    ForeignText<32> text{};
    text.write("a\nmargay: \x1b[2J\r\x9b\x7f.");
    EXPECT_EQ(text.copy().view(), "a?margay: ?[2J???.");
}

TEST(ForeignText, AnyBytesArePrintable) {
    ForeignText<64> text{};
    std::mt19937 random{1};
    for (unsigned n = 0; n < 10000; ++n) {
        for (unsigned i = 0; i < sizeof(text); ++i)
            reinterpret_cast<char*>(&text)[i] = static_cast<char>(random());
        const auto copy = text.copy();
        for (const char c : copy.view()) ASSERT_TRUE(c >= ' ' && c <= '~');
    }
}

}  // namespace
}  // namespace margay
