#include "proto/ring.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <random>
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
