#include "servers/pmem/extent_table.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

namespace margay::pmem {
namespace {

constexpr std::uint64_t page = page_size;

struct Kept {
    ExtentBook book;
};
// With a book of its own.
struct Table : Kept, ExtentTable {
    Table() : ExtentTable{book} {}
};

// As pmem does it; what is dirty is cleared at once.
Result<const ExtentRecord*> allocate(ExtentTable& t, std::uint64_t bytes, std::uint64_t alignment,
                                     std::uint64_t node, std::uint64_t owner) {
    const Result<Place> p = t.find_whole(bytes, alignment, node);
    if (!p) return p.status();
    while (const ExtentRecord* r = t.dirty_in(*p)) {
        const std::uint64_t base = std::max(r->base, p->base),
                            end = std::min(r->end, p->base + p->size);
        const Status s = t.cleared(base, end);
        if (s != Status::ok) return s;
    }
    return t.take(*p, owner);
}

TEST(ExtentTable, RefusesBadBootExtents) {
    Table t;
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
    Table t;
    ASSERT_EQ(t.add(3 * page, 2 * page, 0, 0), Status::ok);
    ASSERT_EQ(t.add(9 * page, 100 * page, 0, 1), Status::ok);
    const auto a = allocate(t, 3 * page, 0, any_node, 7);
    ASSERT_TRUE(a);
    EXPECT_EQ((*a)->base, 9 * page) << "the first one is too small";
    const auto b = allocate(t, 1, page, any_node, 7);
    ASSERT_TRUE(b);
    EXPECT_EQ((*b)->base, 3 * page);
    EXPECT_EQ((*b)->end, 4 * page) << "whole pages";
    const auto c = allocate(t, page, 16 * page, any_node, 7);
    ASSERT_TRUE(c);
    EXPECT_EQ((*c)->base, 16 * page);
    const auto d = allocate(t, page, 8 * page, any_node, 8);
    ASSERT_TRUE(d);
    EXPECT_EQ((*d)->base, 24 * page);
    EXPECT_EQ(t.totals(any_node).extents, 4u);
}

TEST(ExtentTable, BadArguments) {
    Table t;
    ASSERT_EQ(t.add(page, 8 * page, 0, 0), Status::ok);
    EXPECT_EQ(allocate(t, 0, page, any_node, 1).status(), Status::bad_argument);
    EXPECT_EQ(allocate(t, page, 3 * page, any_node, 1).status(), Status::bad_argument);
    EXPECT_EQ(allocate(t, page, page, any_node, 0).status(), Status::bad_argument);
    EXPECT_EQ(allocate(t, ~0ull, page, any_node, 1).status(), Status::bad_argument);
    EXPECT_EQ(allocate(t, page, 1ull << 63, any_node, 1).status(), Status::bad_argument);
    EXPECT_EQ(allocate(t, 9 * page, page, any_node, 1).status(), Status::no_memory);
    EXPECT_EQ(allocate(t, page, 1ull << 52, any_node, 1).status(), Status::no_memory);
    EXPECT_EQ(t.totals(any_node).used, 0u);
}

TEST(ExtentTable, NodesAreKeptApart) {
    Table t;
    ASSERT_EQ(t.add(page, 4 * page, 0, 0), Status::ok);
    ASSERT_EQ(t.add(5 * page, 4 * page, 1, 1), Status::ok);
    const auto a = allocate(t, page, page, 1, 1);
    ASSERT_TRUE(a);
    EXPECT_EQ((*a)->base, 5 * page);
    EXPECT_EQ(allocate(t, page, page, 2, 1).status(), Status::no_memory);
    EXPECT_TRUE(t.knows_node(1));
    EXPECT_FALSE(t.knows_node(2));
    EXPECT_TRUE(t.knows_node(any_node));
    EXPECT_EQ(t.totals(1).used, page);
    EXPECT_EQ(t.totals(0).used, 0u);
    EXPECT_EQ(t.totals(1).largest, 3 * page);
}

TEST(ExtentTable, NeighboursOfDifferentBootExtentsDoNotJoin) {
    Table t;
    ASSERT_EQ(t.add(page, page, 0, 0), Status::ok);
    ASSERT_EQ(t.add(2 * page, page, 0, 1), Status::ok);
    const auto a = allocate(t, page, page, any_node, 1);
    t.release(**a, false);
    EXPECT_EQ(t.totals(any_node).largest, page);
    EXPECT_EQ(allocate(t, 2 * page, page, any_node, 1).status(), Status::no_memory);
}

TEST(ExtentTable, FullBooksAreNoMemoryAndNothingIsLost) {
    auto t = std::make_unique<Table>();
    ASSERT_EQ(t->add(page, 4 * ExtentTable::capacity * page, 0, 0), Status::ok);
    unsigned made = 0;
    // Every second page, so that each needs a split on both sides.
    while (allocate(*t, page, 2 * page, any_node, 5)) ++made;
    EXPECT_GE(made, ExtentTable::capacity / 2 - 1);
    EXPECT_EQ(t->totals(any_node).used, made * page);
    EXPECT_EQ(t->totals(any_node).used + t->totals(any_node).free,
              4 * ExtentTable::capacity * page);
    EXPECT_EQ(t->add(1ull << 40, page, 0, 1) == Status::ok, made * 2 + 1 < ExtentTable::capacity);
    while (const ExtentRecord* r = t->any_of(5)) t->release(*r, false);
    EXPECT_EQ(t->totals(any_node).used, 0u);
    EXPECT_EQ(t->totals(any_node).largest, 4 * ExtentTable::capacity * page);
}

TEST(ExtentTable, CleanMemoryFirst) {
    Table t;
    ASSERT_EQ(t.add(page, 8 * page, 0, 0), Status::ok);
    const auto a = allocate(t, 2 * page, page, any_node, 1);
    t.release(**a, true);
    EXPECT_EQ(t.totals(any_node).dirty, 2 * page);
    EXPECT_EQ(t.totals(any_node).largest, 8 * page) << "neighbours count as one";
    EXPECT_EQ(t.find_whole(page, page, any_node)->base, 3 * page);
    EXPECT_EQ(t.find_whole(6 * page, page, any_node)->base, 3 * page);
    const auto all = t.find_whole(8 * page, page, any_node);
    ASSERT_TRUE(all);
    EXPECT_EQ(t.take(*all, 1).status(), Status::not_found) << "not while it is dirty";
    const ExtentRecord* dirty = t.dirty_in(*all);
    ASSERT_NE(dirty, nullptr);
    EXPECT_EQ(dirty->base, page);
    EXPECT_EQ(t.cleared(page, 2 * page), Status::ok);
    EXPECT_EQ(t.totals(any_node).dirty, page);
    EXPECT_EQ(t.dirty_in(*all)->base, 2 * page);
    EXPECT_EQ(t.cleared(2 * page, 3 * page), Status::ok);
    EXPECT_EQ(t.dirty_in(*all), nullptr);
    const auto taken = t.take(*all, 1);
    ASSERT_TRUE(taken) << "what is clean has joined";
    EXPECT_EQ((*taken)->end, 9 * page);
    EXPECT_EQ(t.cleared(page, 2 * page), Status::not_found) << "it has an owner";
}

TEST(ExtentTable, OwnedMemoryIsNotDirty) {
    Table t;
    ASSERT_EQ(t.add(page, 4 * page, 0, 0), Status::ok);
    t.release(**allocate(t, 4 * page, page, any_node, 1), true);
    const auto again = allocate(t, 2 * page, page, any_node, 3);
    ASSERT_TRUE(again);
    EXPECT_EQ(t.totals(any_node).dirty, 2 * page);
    t.release(**again, true);
    EXPECT_EQ(t.totals(any_node).dirty, 4 * page);
}

TEST(ExtentTable, WhatIsBeingClearedIsFree) {
    Table t;
    ASSERT_EQ(t.add(page, 8 * page, 0, 0), Status::ok);
    EXPECT_EQ(t.take_dirty(page), nullptr);
    t.release(**allocate(t, 3 * page, page, any_node, 1), true);
    const ExtentRecord* piece = t.take_dirty(2 * page);
    ASSERT_NE(piece, nullptr);
    EXPECT_EQ(piece->base, page);
    EXPECT_EQ(piece->end, 3 * page);
    EXPECT_EQ(t.totals(any_node).used, 0u);
    EXPECT_EQ(t.totals(any_node).free, 8 * page);
    EXPECT_EQ(t.totals(any_node).dirty, 3 * page);
    EXPECT_EQ(t.totals(any_node).largest, 6 * page) << "but nobody can have it now";
    EXPECT_EQ(t.any_of(pmem_clearer), piece);
    t.release(*piece, false);
    EXPECT_EQ(t.totals(any_node).dirty, page);
    piece = t.take_dirty(2 * page);
    ASSERT_NE(piece, nullptr);
    EXPECT_EQ(piece->base, 3 * page);
    EXPECT_EQ(piece->end, 4 * page);
    t.release(*piece, false);
    EXPECT_EQ(t.totals(any_node).dirty, 0u);
    EXPECT_EQ(t.totals(any_node).largest, 8 * page);
}

constexpr std::uint64_t mib = 1 << 20, gib = 1 << 30, large = 2 * mib;

TEST(Parts, WhatFitsIsWhole) {
    Table t;
    ASSERT_EQ(t.add(mib, 7 * mib, 0, 0), Status::ok);
    ASSERT_EQ(t.add(16 * mib, 64 * mib, 0, 1), Status::ok);
    const auto p = t.find_part(6 * mib, large, 0, any_node);
    ASSERT_TRUE(p);
    EXPECT_EQ(p->base, 2 * mib) << "aligned, and as early as possible";
    EXPECT_EQ(p->size, 6 * mib);
    EXPECT_EQ(t.find_part(8 * mib, large, 0, any_node)->base, 16 * mib);
}

TEST(Parts, TheLargestFirstUntilAllIsThere) {
    Table t;
    ASSERT_EQ(t.add(mib, 9 * mib, 0, 0), Status::ok);
    ASSERT_EQ(t.add(16 * mib, 64 * mib, 0, 1), Status::ok);
    ASSERT_EQ(t.add(128 * mib, 33 * mib, 0, 2), Status::ok);
    std::vector<std::uint64_t> sizes;
    for (std::uint64_t done = 0; done < 100 * mib;) {
        const auto p = t.find_part(100 * mib - done, large, done, any_node);
        ASSERT_TRUE(p);
        EXPECT_EQ(p->base % large, 0u);
        ASSERT_TRUE(t.take(*p, 1));
        sizes.push_back(p->size / mib);
        done += p->size;
    }
    EXPECT_EQ(sizes, (std::vector<std::uint64_t>{64, 32, 4}));
    EXPECT_EQ(t.find_part(6 * mib, large, 0, any_node)->size, 4 * mib);
    EXPECT_EQ(t.totals(any_node).largest, 4 * mib);
}

TEST(Parts, PagesOfOneGibWhereTheyAgree) {
    Table t;
    ASSERT_EQ(t.add(mib, 4 * gib, 0, 0), Status::ok);
    EXPECT_EQ(t.find_part(2 * gib, large, 0, any_node)->base, gib);
    EXPECT_EQ(t.find_part(2 * gib, large, 512 * mib, any_node)->base, 512 * mib);
    EXPECT_EQ(t.find_part(4 * gib - large, large, 0, any_node)->base, 2 * mib)
        << "a wish, not a need";
    const auto part = t.find_part(8 * gib, large, 0, any_node);
    ASSERT_TRUE(part);
    EXPECT_EQ(part->base, gib);
    EXPECT_EQ(part->size, 3 * gib);
}

TEST(Parts, NodesDirtAndBadArguments) {
    Table t;
    ASSERT_EQ(t.add(large, 4 * mib, 0, 0), Status::ok);
    ASSERT_EQ(t.add(16 * mib, 8 * mib, 1, 1), Status::ok);
    EXPECT_EQ(t.find_part(8 * mib, large, 0, 0)->size, 4 * mib);
    EXPECT_EQ(t.find_part(8 * mib, large, 0, 1)->base, 16 * mib);
    EXPECT_EQ(t.find_part(8 * mib, large, 0, 2).status(), Status::no_memory);
    EXPECT_EQ(t.find_part(3 * mib, large, 0, 0).status(), Status::bad_argument);
    EXPECT_EQ(t.find_part(large, large, page, 0).status(), Status::bad_argument);
    EXPECT_EQ(t.find_part(large, 3 * page, 0, 0).status(), Status::bad_argument);
    EXPECT_EQ(t.find_part(0, large, 0, 0).status(), Status::bad_argument);
    t.release(**allocate(t, 4 * mib, large, 1, 9), true);
    EXPECT_EQ(t.find_part(8 * mib, large, 0, 1)->size, 8 * mib) << "dirty and clean neighbours";
    EXPECT_EQ(t.find_part(4 * mib, large, 0, 1)->base, 20 * mib) << "clean first";
}

// Whenever pmem dies, its successor finds what was or what is.
TEST(Recovery, AChangeTouchesNothingThatCounts) {
    constexpr std::uint64_t begin = page, end = 600 * page;
    std::mt19937 random{3};
    auto book = std::make_unique<ExtentBook>();
    auto table = std::make_unique<ExtentTable>(*book);
    ASSERT_EQ(table->add(begin, end - begin, 0, 0), Status::ok);
    unsigned changes = 0;
    for (unsigned n = 0; n < 4000; ++n) {
        const ExtentBook before = *book;
        switch (random() % 4) {
        case 0:
        case 1: {
            const auto p =
                table->find_whole((1 + random() % 20) * page, page << random() % 4, any_node);
            if (p && table->dirty_in(*p) == nullptr) (void)table->take(*p, 3 + random() % 3, n);
            break;
        }
        case 2:
            if (const ExtentRecord* r = table->any_of(3 + random() % 3)) table->release(*r, true);
            break;
        default:
            if (const ExtentRecord* r = table->any_of(pmem_clearer))
                table->release(*r, false);
            else
                (void)table->take_dirty(8 * page);
        }
        // Every store but the one that makes it count.
        const ExtentBook::Order& old = before.orders[before.current];
        ASSERT_EQ(book->orders[before.current].count, old.count);
        for (unsigned i = 0; i < old.count; ++i) {
            ASSERT_EQ(book->orders[before.current].at[i], old.at[i]);
            const ExtentRecord& a = before.records[old.at[i]];
            const ExtentRecord& b = book->records[old.at[i]];
            ASSERT_TRUE(a.base == b.base && a.end == b.end && a.owner == b.owner &&
                        a.dirty == b.dirty && a.ticket == b.ticket)
                << n;
        }
        changes += before.current != book->current;
        ASSERT_TRUE(ExtentTable::is_sound(*book, &begin, &end, 1));
        // Now and then another pmem goes on, before or after that change.
        if (random() % 8 == 0) {
            if (random() % 2 == 0) book->current = before.current;
            ASSERT_TRUE(ExtentTable::is_sound(*book, &begin, &end, 1));
            table = std::make_unique<ExtentTable>(*book);
            const ExtentTable::Totals t = table->totals(any_node);
            ASSERT_EQ(t.free + t.used, end - begin);
        }
    }
    EXPECT_GT(changes, 2000u);
}

TEST(Recovery, ARequestIsKnownAgain) {
    Table t;
    ASSERT_EQ(t.add(page, 8 * page, 0, 0), Status::ok);
    ASSERT_TRUE(t.take({3 * page, page}, 1, 77));
    ASSERT_TRUE(t.take({5 * page, page}, 1, 78));
    ExtentTable next{t.book};
    ASSERT_NE(next.taken_for(78), nullptr);
    EXPECT_EQ(next.taken_for(78)->base, 5 * page);
    next.release(*next.taken_for(78), true);
    EXPECT_EQ(next.taken_for(78), nullptr);
}

TEST(Recovery, ADamagedBookIsRefused) {
    constexpr std::uint64_t begin = page, end = 9 * page;
    const auto is_sound = [&](const ExtentBook& b) {
        return ExtentTable::is_sound(b, &begin, &end, 1);
    };
    Table t;
    ASSERT_EQ(t.add(begin, end - begin, 0, 0), Status::ok);
    ASSERT_TRUE(t.take({3 * page, page}, 1));
    ASSERT_TRUE(is_sound(t.book));
    const ExtentBook good = t.book;
    const auto expect_refused = [&](auto&& damage) {
        t.book = good;
        damage(t.book, t.book.orders[t.book.current]);
        EXPECT_FALSE(is_sound(t.book));
    };
    using Order = ExtentBook::Order;
    expect_refused([](ExtentBook& b, Order&) { b.current = 2; });
    expect_refused([](ExtentBook&, Order& o) { o.count = 5000; });
    expect_refused([](ExtentBook&, Order& o) { o.at[1] = 5000; });
    expect_refused([](ExtentBook&, Order& o) { o.at[1] = o.at[0]; });
    expect_refused([](ExtentBook& b, Order& o) { b.records[o.at[1]].end += page; });
    expect_refused([](ExtentBook& b, Order& o) { b.records[o.at[2]].end += page; });
    expect_refused([](ExtentBook& b, Order& o) { b.records[o.at[1]].base += 1; });
    expect_refused([](ExtentBook& b, Order& o) { b.records[o.at[1]].root = 1; });
}

// Against a map with one byte for each page.
class RandomExtents : public testing::TestWithParam<unsigned> {};

TEST_P(RandomExtents, AgainstAMapOfPages) {
    constexpr unsigned pages = 700, roots = 3;
    std::mt19937 random{GetParam()};
    auto t = std::make_unique<Table>();
    struct Page {
        int root = -1;
        std::uint64_t owner = 0;
        unsigned extent = 0;
        bool dirty = false;
    };
    std::vector<Page> model(pages);
    for (unsigned r = 0; r < roots; ++r) {
        const unsigned begin = r * 230 + (r == 1 ? 0 : 1), size = r == 0 ? 229 : 200;
        ASSERT_EQ(t->add(begin * page, size * page, r % 2, r), Status::ok);
        for (unsigned i = 0; i < size; ++i) model[begin + i].root = static_cast<int>(r);
    }
    unsigned next_extent = 1;
    for (unsigned n = 0; n < 3000; ++n) {
        const std::uint64_t owner = 3 + random() % 5;
        if (random() % 2 == 0) {
            const unsigned size = 1 + random() % 40, step = 1u << random() % 6;
            const std::uint64_t node = random() % 3 == 0 ? random() % 3 : any_node;
            // First fit by hand, among the clean ones and then among all.
            unsigned at = pages;
            for (unsigned j = 0; j < 2 * pages && at == pages; ++j) {
                const unsigned i = j % pages;
                if (i + size > pages) continue;
                if (i % step != 0 || model[i].root < 0 ||
                    (node != any_node && static_cast<unsigned>(model[i].root) % 2 != node))
                    continue;
                bool fits = true;
                for (unsigned k = 0; k < size; ++k)
                    fits = fits && model[i + k].owner == 0 && model[i + k].root == model[i].root &&
                           (j >= pages || !model[i + k].dirty);
                if (fits) at = i;
            }
            const auto r = allocate(*t, size * page - random() % page, step * page, node, owner);
            ASSERT_EQ(r ? (*r)->base / page : pages, at) << "step " << n;
            if (!r) continue;
            ASSERT_EQ((*r)->end, (at + size) * page);
            ASSERT_EQ((*r)->owner, owner);
            for (unsigned k = 0; k < size; ++k)
                model[at + k] = {model[at + k].root, owner, next_extent, false};
            ++next_extent;
        } else {
            const ExtentRecord* r =
                random() % 2 == 0 ? t->any_of(owner) : t->find(random() % pages * page);
            if (r == nullptr) continue;
            const unsigned at = static_cast<unsigned>(r->base / page);
            ASSERT_NE(model[at].owner, 0u);
            const unsigned extent = model[at].extent;
            ASSERT_EQ(r->end / page - at, static_cast<unsigned>(std::count_if(
                                              model.begin(), model.end(), [extent](const Page& p) {
                                                  return p.extent == extent;
                                              })));
            const bool dirty = random() % 2 == 0;
            t->release(*r, dirty);
            for (Page& p : model)
                if (p.extent == extent) p = {p.root, 0, 0, dirty};
        }
        std::uint64_t free = 0, used = 0, run = 0, largest = 0, dirty = 0;
        for (unsigned i = 0; i < pages; ++i) {
            const bool is_free = model[i].root >= 0 && model[i].owner == 0;
            free += is_free;
            dirty += model[i].dirty;
            used += model[i].owner != 0;
            run = is_free && i > 0 && model[i - 1].root == model[i].root ? run + 1 : is_free;
            largest = std::max(largest, run);
        }
        const ExtentTable::Totals totals = t->totals(any_node);
        ASSERT_EQ(totals.free, free * page);
        ASSERT_EQ(totals.dirty, dirty * page);
        ASSERT_EQ(totals.used, used * page);
        ASSERT_EQ(totals.largest, largest * page) << "free neighbours join";
    }
}
INSTANTIATE_TEST_SUITE_P(Seeds, RandomExtents, testing::Range(0u, 8u));

}  // namespace
}  // namespace margay::pmem
