#include "proto/frame.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace margay::frame {
namespace {

std::string made(char type, std::uint16_t stream, std::string_view payload) {
    std::string s;
    write([&](char c) { s += c; }, type, stream, payload);
    return s;
}

TEST(Frame, ComesOutAsItWentIn) {
    std::string payload;
    for (int i = 0; i < 256; ++i) payload += static_cast<char>(i);
    const std::string bytes = "{}\n" + made('d', 0x1234, payload) + "[]\n";
    Reader reader;
    std::string text;
    unsigned frames = 0;
    for (const char c : bytes) switch (reader.take(c)) {
        case Reader::Found::text: text += c; break;
        case Reader::Found::frame:
            ++frames;
            EXPECT_EQ(reader.type(), 'd');
            EXPECT_EQ(reader.stream(), 0x1234);
            EXPECT_EQ(reader.payload(), payload);
            EXPECT_EQ(reader.whole(), made('d', 0x1234, payload));
            break;
        case Reader::Found::damaged: FAIL(); break;
        case Reader::Found::nothing: break;
        }
    EXPECT_EQ(frames, 1u);
    EXPECT_EQ(text, "{}\n[]\n");
}

TEST(Frame, EmptyAndLongest) {
    for (const std::size_t size : {std::size_t{0}, std::size_t{max_payload}}) {
        Reader reader;
        Reader::Found last = Reader::Found::nothing;
        for (const char c : made('o', 1, std::string(size, 'x'))) last = reader.take(c);
        EXPECT_EQ(last, Reader::Found::frame);
        EXPECT_EQ(reader.payload().size(), size);
    }
}

TEST(Frame, EachChangedBitIsFound) {
    const std::string good = made('d', 7, "some payload");
    for (std::size_t bit = 8; bit < good.size() * 8; ++bit) {
        std::string bad = good;
        bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ 1 << bit % 8);
        Reader reader;
        for (const char c : bad) EXPECT_NE(reader.take(c), Reader::Found::frame) << bit;
    }
}

// Whatever came before, a frame's length of line ends brings a reader to the beginning of the next one.
TEST(Frame, LineEndsBringItBack) {
    std::mt19937 random{5};
    for (int n = 0; n < 200; ++n) {
        Reader reader;
        for (unsigned i = random() % 3000; i != 0; --i)
            (void)reader.take(static_cast<char>(random()));
        for (unsigned i = 0; i < max_frame; ++i) (void)reader.take('\n');
        ASSERT_TRUE(reader.is_between());
        Reader::Found last = Reader::Found::nothing;
        for (const char c : made('d', 1, "x")) last = reader.take(c);
        ASSERT_EQ(last, Reader::Found::frame);
    }
}

}  // namespace
}  // namespace margay::frame
