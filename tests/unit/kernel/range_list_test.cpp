#include "ukernel/boot/range_list.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace margay {
namespace {

Range range(std::uint64_t begin, std::uint64_t end) { return {HostPhys{begin}, HostPhys{end}}; }

TEST(RangeList, CutsSplitShortenAndRemove) {
    RangeList l;
    EXPECT_TRUE(l.add(range(10, 20)));
    EXPECT_TRUE(l.add(range(30, 40)));
    EXPECT_TRUE(l.add(range(5, 5)));  // empty: nothing to keep
    EXPECT_EQ(l.size(), 2u);
    l.remove(range(12, 14));
    l.remove(range(35, 50));
    l.remove(range(0, 11));
    l.remove(range(7, 7));
    ASSERT_EQ(l.size(), 3u);
    std::vector<bool> left(60);
    for (const Range& r : l)
        for (std::uint64_t i = r.begin.value(); i < r.end.value(); ++i) left[i] = true;
    for (unsigned i = 0; i < 60; ++i)
        EXPECT_EQ(left[i], i == 11 || (i >= 14 && i < 20) || (i >= 30 && i < 35)) << i;
    l.remove(range(0, 100));
    EXPECT_EQ(l.size(), 0u);
}

TEST(RangeList, AFullListLosesMemoryRatherThanKeepingWhatIsTaken) {
    RangeList l;
    for (unsigned i = 0; i < RangeList::capacity; ++i)
        EXPECT_TRUE(l.add(range(i * 100, i * 100 + 50)));
    EXPECT_FALSE(l.add(range(100000, 100001)));
    l.remove(range(110, 120));
    EXPECT_LE(l.size(), RangeList::capacity);
    for (const Range& r : l) EXPECT_FALSE(r.begin.value() < 120 && r.end.value() > 110);
}

TEST(RangeList, RandomCutsAgainstAByteMap) {
    for (unsigned seed = 0; seed < 200; ++seed) {
        std::mt19937 random{seed};
        RangeList l;
        std::vector<bool> model(1000);
        for (unsigned i = 0; i < 5; ++i) {
            ASSERT_TRUE(l.add(range(i * 200, i * 200 + 150)));
            for (unsigned k = 0; k < 150; ++k) model[i * 200 + k] = true;
        }
        for (unsigned n = 0; n < 30; ++n) {
            const unsigned begin = static_cast<unsigned>(random() % 1000);
            const unsigned end = begin + static_cast<unsigned>(random() % 40);
            l.remove(range(begin, end));
            for (unsigned k = begin; k < end && k < 1000; ++k) model[k] = false;
            std::vector<unsigned> left(1100);
            for (const Range& r : l) {
                ASSERT_GT(r.size(), 0u);
                for (std::uint64_t k = r.begin.value(); k < r.end.value(); ++k) ++left[k];
            }
            for (unsigned k = 0; k < 1000; ++k) ASSERT_EQ(left[k], model[k] ? 1u : 0u);
        }
    }
}

}  // namespace
}  // namespace margay
