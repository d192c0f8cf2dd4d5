#include "proto/ring.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <random>
#include <string>
#include <thread>

namespace margay {
namespace {

TEST(Ring, FillsUpToItsSizeAndNoFurther) {
    ByteRing<16> ring;
    EXPECT_TRUE(ring.is_empty());
    EXPECT_EQ(ring.room(), 16u);
    for (int i = 0; i < 16; ++i) EXPECT_TRUE(ring.put(static_cast<char>(i)));
    EXPECT_FALSE(ring.put('x'));
    EXPECT_EQ(ring.room(), 0u);
    char c;
    for (int i = 0; i < 16; ++i) {
        ASSERT_TRUE(ring.get(c));
        EXPECT_EQ(c, static_cast<char>(i));
    }
    EXPECT_FALSE(ring.get(c));
    EXPECT_TRUE(ring.is_empty());
}

TEST(Ring, RandomSequencesAgainstAQueue) {
    std::mt19937 random{3};
    ByteRing<64> ring;
    std::deque<char> model;
    for (unsigned n = 0; n < 200000; ++n) {
        if (random() % 2 == 0) {
            const char c = static_cast<char>(random());
            ASSERT_EQ(ring.put(c), model.size() < 64);
            if (model.size() < 64) model.push_back(c);
        } else {
            char c = 0;
            ASSERT_EQ(ring.get(c), !model.empty());
            if (!model.empty()) {
                ASSERT_EQ(c, model.front());
                model.pop_front();
            }
        }
        ASSERT_EQ(ring.room(), 64 - model.size());
        ASSERT_EQ(ring.is_empty(), model.empty());
    }
}

TEST(Ring, IndicesWrapAroundTheirType) {
    // The layout is shared memory: the producer's index comes first.
    ByteRing<16> ring;
    auto* words = reinterpret_cast<std::atomic<std::uint32_t>*>(&ring);
    words[0] = words[1] = 0xffff'fff8;
    for (int i = 0; i < 16; ++i) ASSERT_TRUE(ring.put(static_cast<char>(i)));
    EXPECT_FALSE(ring.put('x'));
    char c;
    for (int i = 0; i < 16; ++i) {
        ASSERT_TRUE(ring.get(c));
        EXPECT_EQ(c, static_cast<char>(i));
    }
}

TEST(Ring, BrokenPartnerStaysInsideTheRing) {
    auto ring = std::make_unique<ByteRing<16>>();
    auto* words = reinterpret_cast<std::atomic<std::uint32_t>*>(ring.get());
    std::mt19937 random{11};
    for (unsigned n = 0; n < 100000; ++n) {
        words[random() % 2] = static_cast<std::uint32_t>(random());
        char c;
        static_cast<void>(ring->put('x'));
        static_cast<void>(ring->get(c));
        EXPECT_LE(ring->room(), 16u);
        EXPECT_LE(ring->used(), 16u);
    }
}

TEST(Ring, AHeadBeyondTheRingIsSkipped) {
    ByteRing<16> ring;
    auto* words = reinterpret_cast<std::atomic<std::uint32_t>*>(&ring);
    for (const std::uint32_t ahead : {17u, 18u, 0x8000'0000u, 0xffff'ffffu}) {
        ASSERT_TRUE(ring.put('a'));
        words[0] = words[1] + ahead;
        EXPECT_FALSE(ring.is_empty());
        EXPECT_EQ(ring.used(), 0u);
        EXPECT_EQ(ring.room(), 0u);
        EXPECT_FALSE(ring.put('x'));
        char c;
        EXPECT_FALSE(ring.get(c));
        EXPECT_TRUE(ring.is_empty()) << "it goes on at the head";
        ASSERT_TRUE(ring.put('b'));
        ASSERT_TRUE(ring.get(c));
        EXPECT_EQ(c, 'b');
    }
}

// Whatever a producer does between two calls, each call of get() yields at most one byte.
TEST(Ring, APartnerThatMovesBothIndicesYieldsAByteForAByteAskedFor) {
    auto ring = std::make_unique<ByteRing<16>>();
    auto* words = reinterpret_cast<std::atomic<std::uint32_t>*>(ring.get());
    std::mt19937 random{13};
    for (unsigned n = 0; n < 100000; ++n) {
        words[0] = static_cast<std::uint32_t>(random());
        words[1] = static_cast<std::uint32_t>(random());
        const std::uint32_t used = words[0] - words[1];
        char c;
        EXPECT_EQ(ring->get(c), used != 0 && used <= 16);
        EXPECT_LE(ring->used(), 15u);
    }
}

TEST(Ring, APositionBehindTheHeadIsNotPutAgain) {
    ByteRing<16> ring;
    std::uint32_t position = ring.head();
    for (const char c : {'a', 'b', 'c'}) EXPECT_TRUE(ring.put_at(position, c));
    EXPECT_EQ(position, 3u);
    position = 1;  // a successor does the last two again, and one more
    for (const char c : {'b', 'c', 'd'}) EXPECT_TRUE(ring.put_at(position, c));
    EXPECT_EQ(position, 4u);
    EXPECT_EQ(ring.head(), 4u);
    std::string text;
    for (char c; ring.get(c);) text += c;
    EXPECT_EQ(text, "abcd");
}

TEST(Ring, AFullRingDoesNotMoveThePosition) {
    ByteRing<16> ring;
    std::uint32_t position = ring.head();
    for (int i = 0; i < 16; ++i) ASSERT_TRUE(ring.put_at(position, 'x'));
    EXPECT_FALSE(ring.put_at(position, 'y'));
    EXPECT_EQ(position, 16u);
    position = 0;  // all of it was there before
    for (int i = 0; i < 16; ++i) ASSERT_TRUE(ring.put_at(position, 'x'));
    EXPECT_FALSE(ring.put_at(position, 'y'));
}

TEST(Ring, PositionsWrapAroundTheirType) {
    ByteRing<16> ring;
    auto* words = reinterpret_cast<std::atomic<std::uint32_t>*>(&ring);
    words[0] = words[1] = 0xffff'fffe;
    std::uint32_t out = ring.head();
    for (const char c : {'a', 'b', 'c'}) ASSERT_TRUE(ring.put_at(out, c));
    out = 0xffff'ffff;
    for (const char c : {'b', 'c'}) ASSERT_TRUE(ring.put_at(out, c));
    EXPECT_EQ(ring.head(), 1u);
    std::uint32_t in = ring.tail();
    std::string text;
    for (char c; ring.peek(in, c); ++in) text += c;
    EXPECT_EQ(text, "abc");
    EXPECT_EQ(ring.tail(), 0xffff'fffe);
    ring.release(in);
    EXPECT_TRUE(ring.is_empty());
}

TEST(Ring, APositionFromAnotherRingIsTheHeads) {
    ByteRing<16> ring;
    for (const std::uint32_t start : {1000u, 0x9000'0000u}) {
        std::uint32_t position = start;
        const std::uint32_t head = ring.head();
        EXPECT_TRUE(ring.put_at(position, 'a'));
        EXPECT_EQ(position, head + 1);
        EXPECT_EQ(ring.head(), head + 1);
    }
}

TEST(Ring, PositionsStayInsideWhateverThePartnerDoes) {
    auto ring = std::make_unique<ByteRing<16>>();
    auto* words = reinterpret_cast<std::atomic<std::uint32_t>*>(ring.get());
    std::mt19937 random{12};
    for (unsigned n = 0; n < 100000; ++n) {
        words[random() % 2] = static_cast<std::uint32_t>(random());
        std::uint32_t position = static_cast<std::uint32_t>(random());
        char c;
        static_cast<void>(ring->peek(position, c));
        static_cast<void>(ring->put_at(position, 'x'));
        ring->release(position);
    }
}

TEST(Ring, TwoThreads) {
    ByteRing<256> ring;
    constexpr unsigned total = 200000;
    std::thread producer{[&ring] {
        for (unsigned i = 0; i < total;)
            if (ring.put(static_cast<char>(i * 7)))
                ++i;
            else
                std::this_thread::yield();
    }};
    for (unsigned i = 0; i < total;) {
        char c;
        if (!ring.get(c)) {
            std::this_thread::yield();
            continue;
        }
        ASSERT_EQ(c, static_cast<char>(i * 7));
        ++i;
    }
    producer.join();
}

}  // namespace
}  // namespace margay
