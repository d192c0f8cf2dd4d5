#include "servers/pmem/extent_table.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

namespace margay::pmem {
namespace {

constexpr std::uint64_t page = page_size;

TEST(ExtentTable, RefusesBadBootExtents) {
    ExtentTable t;
    EXPECT_EQ(t.add(0, 0, 0, 0), Status::bad_argument);
    EXPECT_EQ(t.add(1, page, 0, 0), Status::bad_argument);
    EXPECT_EQ(t.add(page, page + 1, 0, 0), Status::bad_argument);
    EXPECT_EQ(t.add(~0ull - page + 1, 2 * page, 0, 0), Status::bad_argument);
    EXPECT_EQ(t.add(10 * page, 10 * page, 0, 0), Status::ok);
    EXPECT_EQ(t.add(19 * page, page, 0, 1), Status::in_use);
    EXPECT_EQ(t.add(5 * page, 6 * page, 0, 1), Status::in_use);
    EXPECT_EQ(t.add(12 * page, page, 0, 1), Status::in_use);
    EXPECT_EQ(t.add(20 * page, page, 0, 1), Status::ok);
    EXPECT_EQ(t.add(5 * page, 5 * page, 0, 2), Status::ok);
    EXPECT_EQ(t.totals(any_node).free, 16 * page);
}

TEST(ExtentTable, FirstFitWithAlignment) {
    ExtentTable t;
    ASSERT_EQ(t.add(3 * page, 2 * page, 0, 0), Status::ok);
    ASSERT_EQ(t.add(9 * page, 100 * page, 0, 1), Status::ok);
    const auto a = t.allocate(3 * page, 0, any_node, 7);
    ASSERT_TRUE(a);
    EXPECT_EQ((*a)->base, 9 * page) << "the first one is too small";
    const auto b = t.allocate(1, page, any_node, 7);
    ASSERT_TRUE(b);
    EXPECT_EQ((*b)->base, 3 * page);
    EXPECT_EQ((*b)->end, 4 * page) << "whole pages";
    const auto c = t.allocate(page, 16 * page, any_node, 7);
    ASSERT_TRUE(c);
    EXPECT_EQ((*c)->base, 16 * page);
    const auto d = t.allocate(page, 8 * page, any_node, 8);
    ASSERT_TRUE(d);
    EXPECT_EQ((*d)->base, 24 * page);
    EXPECT_EQ(t.totals(any_node).extents, 4u);
}

TEST(ExtentTable, BadArguments) {
    ExtentTable t;
    ASSERT_EQ(t.add(page, 8 * page, 0, 0), Status::ok);
    EXPECT_EQ(t.allocate(0, page, any_node, 1).status(), Status::bad_argument);
    EXPECT_EQ(t.allocate(page, 3 * page, any_node, 1).status(), Status::bad_argument);
    EXPECT_EQ(t.allocate(page, page, any_node, 0).status(), Status::bad_argument);
    EXPECT_EQ(t.allocate(~0ull, page, any_node, 1).status(), Status::bad_argument);
    EXPECT_EQ(t.allocate(page, 1ull << 63, any_node, 1).status(), Status::bad_argument);
    EXPECT_EQ(t.allocate(9 * page, page, any_node, 1).status(), Status::no_memory);
    EXPECT_EQ(t.allocate(page, 1ull << 52, any_node, 1).status(), Status::no_memory);
    EXPECT_EQ(t.totals(any_node).used, 0u);
}

TEST(ExtentTable, NodesAreKeptApart) {
    ExtentTable t;
    ASSERT_EQ(t.add(page, 4 * page, 0, 0), Status::ok);
    ASSERT_EQ(t.add(5 * page, 4 * page, 1, 1), Status::ok);
    const auto a = t.allocate(page, page, 1, 1);
    ASSERT_TRUE(a);
    EXPECT_EQ((*a)->base, 5 * page);
    EXPECT_EQ(t.allocate(page, page, 2, 1).status(), Status::no_memory);
    EXPECT_TRUE(t.knows_node(1));
    EXPECT_FALSE(t.knows_node(2));
    EXPECT_TRUE(t.knows_node(any_node));
    EXPECT_EQ(t.totals(1).used, page);
    EXPECT_EQ(t.totals(0).used, 0u);
    EXPECT_EQ(t.totals(1).largest, 3 * page);
}

TEST(ExtentTable, NeighboursOfDifferentBootExtentsDoNotJoin) {
    ExtentTable t;
    ASSERT_EQ(t.add(page, page, 0, 0), Status::ok);
    ASSERT_EQ(t.add(2 * page, page, 0, 1), Status::ok);
    const auto a = t.allocate(page, page, any_node, 1);
    t.release(**a);
    EXPECT_EQ(t.totals(any_node).largest, page);
    EXPECT_EQ(t.allocate(2 * page, page, any_node, 1).status(), Status::no_memory);
}

TEST(ExtentTable, FullBooksAreNoMemoryAndNothingIsLost) {
    auto t = std::make_unique<ExtentTable>();
    ASSERT_EQ(t->add(page, 4 * ExtentTable::capacity * page, 0, 0), Status::ok);
    unsigned made = 0;
    // Every second page, so that each needs a split on both sides.
    while (t->allocate(page, 2 * page, any_node, 5)) ++made;
    EXPECT_GE(made, ExtentTable::capacity / 2 - 1);
    EXPECT_EQ(t->totals(any_node).used, made * page);
    EXPECT_EQ(t->totals(any_node).used + t->totals(any_node).free,
              4 * ExtentTable::capacity * page);
    EXPECT_EQ(t->add(1ull << 40, page, 0, 1) == Status::ok, made * 2 + 1 < ExtentTable::capacity);
    while (ExtentRecord* r = t->any_of(5)) t->release(*r);
    EXPECT_EQ(t->totals(any_node).used, 0u);
    EXPECT_EQ(t->totals(any_node).largest, 4 * ExtentTable::capacity * page);
}

// Against a map with one byte for each page.
class RandomExtents : public testing::TestWithParam<unsigned> {};

TEST_P(RandomExtents, AgainstAMapOfPages) {
    constexpr unsigned pages = 700, roots = 3;
    std::mt19937 random{GetParam()};
    auto t = std::make_unique<ExtentTable>();
    struct Page {
        int root = -1;
        std::uint64_t owner = 0;
        unsigned extent = 0;
    };
    std::vector<Page> model(pages);
    for (unsigned r = 0; r < roots; ++r) {
        const unsigned begin = r * 230 + (r == 1 ? 0 : 1), size = r == 0 ? 229 : 200;
        ASSERT_EQ(t->add(begin * page, size * page, r % 2, r), Status::ok);
        for (unsigned i = 0; i < size; ++i) model[begin + i].root = static_cast<int>(r);
    }
    unsigned next_extent = 1;
    for (unsigned n = 0; n < 3000; ++n) {
        const std::uint64_t owner = 1 + random() % 5;
        if (random() % 2 == 0) {
            const unsigned size = 1 + random() % 40, step = 1u << random() % 6;
            const std::uint64_t node = random() % 3 == 0 ? random() % 3 : any_node;
            // First fit by hand.
            unsigned at = pages;
            for (unsigned i = 0; i + size <= pages && at == pages; ++i) {
                if (i % step != 0 || model[i].root < 0 ||
                    (node != any_node && static_cast<unsigned>(model[i].root) % 2 != node))
                    continue;
                bool fits = true;
                for (unsigned k = 0; k < size; ++k)
                    fits = fits && model[i + k].owner == 0 && model[i + k].root == model[i].root;
                if (fits) at = i;
            }
            const auto r = t->allocate(size * page - random() % page, step * page, node, owner);
            ASSERT_EQ(r ? (*r)->base / page : pages, at) << "step " << n;
            if (!r) continue;
            ASSERT_EQ((*r)->end, (at + size) * page);
            ASSERT_EQ((*r)->owner, owner);
            for (unsigned k = 0; k < size; ++k)
                model[at + k].owner = owner, model[at + k].extent = next_extent;
            ++next_extent;
        } else {
            ExtentRecord* r =
                random() % 2 == 0 ? t->any_of(owner) : t->find(random() % pages * page);
            if (r == nullptr) continue;
            const unsigned at = static_cast<unsigned>(r->base / page);
            ASSERT_NE(model[at].owner, 0u);
            const unsigned extent = model[at].extent;
            ASSERT_EQ(r->end / page - at, static_cast<unsigned>(std::count_if(
                                              model.begin(), model.end(), [extent](const Page& p) {
                                                  return p.extent == extent;
                                              })));
            t->release(*r);
            for (Page& p : model)
                if (p.extent == extent) p.owner = 0, p.extent = 0;
        }
        std::uint64_t free = 0, used = 0, run = 0, largest = 0;
        for (unsigned i = 0; i < pages; ++i) {
            const bool is_free = model[i].root >= 0 && model[i].owner == 0;
            free += is_free;
            used += model[i].owner != 0;
            run = is_free && i > 0 && model[i - 1].root == model[i].root ? run + 1 : is_free;
            largest = std::max(largest, run);
        }
        const ExtentTable::Totals totals = t->totals(any_node);
        ASSERT_EQ(totals.free, free * page);
        ASSERT_EQ(totals.used, used * page);
        ASSERT_EQ(totals.largest, largest * page) << "free neighbours join";
    }
}
INSTANTIATE_TEST_SUITE_P(Seeds, RandomExtents, testing::Range(0u, 8u));

}  // namespace
}  // namespace margay::pmem
