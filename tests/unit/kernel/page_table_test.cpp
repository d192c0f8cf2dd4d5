#include "ukernel/memory/page_table.hpp"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "ukernel/memory/frame_pool.hpp"

namespace margay {
namespace {

constexpr std::uint64_t mib2 = 2ull << 20, gib = 1ull << 30;
constexpr std::uint64_t flags = pte::write | pte::user | pte::no_execute;

// Tables in ordinary memory, a limited number of them.
class Tables {
  public:
    explicit Tables(unsigned limit) : limit_{limit} { root = *allocate(); }

    std::uint64_t* table(HostPhys p) const { return used_.at(p.value())->data(); }
    std::optional<HostPhys> allocate() {
        if (used_.size() == limit_ + (root.value() != 0 ? 1 : 0) && root.value() != 0)
            return std::nullopt;
        const HostPhys p{next_ += 4096};
        used_[p.value()] = std::make_unique<std::array<std::uint64_t, 512>>();
        return p;
    }
    void release(HostPhys p) { ASSERT_EQ(used_.erase(p.value()), 1u) << "released twice"; }

    unsigned count() const { return static_cast<unsigned>(used_.size()) - 1; }
    HostPhys root;

  private:
    unsigned limit_;
    std::uint64_t next_ = 0x100'0000'0000;
    std::map<std::uint64_t, std::unique_ptr<std::array<std::uint64_t, 512>>> used_;
};

TEST(PageTable, LargestPageThatAlignmentAllows) {
    EXPECT_EQ(best_level(0, 0, 4096, 2), 0u);
    EXPECT_EQ(best_level(0, 0, mib2, 2), 1u);
    EXPECT_EQ(best_level(0, 0, mib2 - 4096, 2), 0u);
    EXPECT_EQ(best_level(4096, 0, gib, 2), 0u);
    EXPECT_EQ(best_level(0, 4096, gib, 2), 0u);
    EXPECT_EQ(best_level(mib2, mib2 * 3, gib, 2), 1u);
    EXPECT_EQ(best_level(gib, 5 * gib, gib, 2), 2u);
    EXPECT_EQ(best_level(gib, 5 * gib, gib - 4096, 2), 1u);
    EXPECT_EQ(best_level(gib, 5 * gib, gib, 1), 1u);
    EXPECT_EQ(best_level(gib, 5 * gib, gib, 0), 0u);
}

TEST(PageTable, MixedSizesInOneMapping) {
    Tables backend{64};
    PageTable table{backend, backend.root, 2};
    // 4 KiB up to 2 MiB, 2 MiB up to 1 GiB, one of 1 GiB, and the same way down.
    const std::uint64_t begin = gib - mib2 - 4096, size = 4096 + mib2 + gib + mib2 + 4096;
    EXPECT_EQ(table.leaves(begin, HostPhys{begin}, size, 1000), 5u);
    EXPECT_EQ(table.leaves(begin, HostPhys{begin}, size, 3), 3u);
    ASSERT_EQ(table.map(begin, HostPhys{begin}, size, flags), Status::ok);
    const std::pair<std::uint64_t, unsigned> expected[] = {
        {begin, 0}, {gib - mib2, 1}, {gib, 2}, {2 * gib, 1}, {2 * gib + mib2, 0}};
    for (const auto& [at, level] : expected) {
        const std::optional<Leaf> leaf = table.lookup(at + 0x123);
        ASSERT_TRUE(leaf);
        EXPECT_EQ(leaf->level, level);
        EXPECT_EQ(leaf->physical.value(), at + 0x123);
        EXPECT_EQ(leaf->flags & flags, flags);
    }
    EXPECT_FALSE(table.lookup(begin - 1));
    EXPECT_FALSE(table.lookup(begin + size));
    table.unmap(begin, size);
    EXPECT_FALSE(table.lookup(gib));
    EXPECT_EQ(backend.count(), 0u);
}

TEST(PageTable, OccupiedChangesNothing) {
    for (const unsigned max_level : {0u, 1u, 2u}) {
        Tables backend{64};
        PageTable table{backend, backend.root, max_level};
        ASSERT_EQ(table.map(mib2 + 4096 * 3, HostPhys{0x7000}, 4096, flags), Status::ok);
        const unsigned before = backend.count();
        // The last page collides, after others have been entered.
        EXPECT_EQ(table.map(mib2, HostPhys{0x10000}, 4096 * 4, flags), Status::occupied);
        // A large page over a table.
        EXPECT_EQ(table.map(0, HostPhys{0}, mib2 * 2, flags), Status::occupied);
        EXPECT_EQ(backend.count(), before);
        EXPECT_FALSE(table.lookup(mib2));
        EXPECT_FALSE(table.lookup(0));
        EXPECT_EQ(table.lookup(mib2 + 4096 * 3)->physical.value(), 0x7000u);
    }
}

TEST(PageTable, SmallPageUnderALargeOneIsOccupied) {
    Tables backend{64};
    PageTable table{backend, backend.root, 2};
    ASSERT_EQ(table.map(gib, HostPhys{gib}, gib, flags), Status::ok);
    const unsigned before = backend.count();
    EXPECT_EQ(table.map(gib + mib2, HostPhys{0x1000}, 4096, flags), Status::occupied);
    EXPECT_EQ(table.map(gib - 4096, HostPhys{0x1000}, 8192, flags), Status::occupied);
    EXPECT_EQ(backend.count(), before);
    EXPECT_FALSE(table.lookup(gib - 4096));
}

TEST(PageTable, NoMemoryChangesNothing) {
    for (unsigned limit = 0; limit < 7; ++limit) {
        Tables backend{limit};
        PageTable table{backend, backend.root, 2};
        // Two pages on both sides of a 512 GiB border: six tables.
        const std::uint64_t at = (512ull << 30) - 4096;
        const Status s = table.map(at, HostPhys{0x1000}, 8192, flags);
        EXPECT_EQ(s, limit < 6 ? Status::no_memory : Status::ok);
        EXPECT_EQ(backend.count(), limit < 6 ? 0u : 6u);
        EXPECT_EQ(table.lookup(at).has_value(), limit >= 6);
    }
}

TEST(PageTable, FramePoolKeepsReleasedTablesUntilTheyAreGivenBack) {
    alignas(4096) static std::uint64_t room[3][512];
    const HostPhys begin = physical_of(room);
    FramePool pool;
    pool.fill(begin, begin + sizeof(room));
    std::set<std::uint64_t> frames;
    for (int i = 0; i < 3; ++i) {
        const auto f = pool.allocate();
        ASSERT_TRUE(f);
        EXPECT_TRUE(frames.insert(f->value()).second);
        for (unsigned k = 0; k < 512; ++k) EXPECT_EQ(pool.table(*f)[k], 0u);
        pool.table(*f)[511] = 7;
    }
    EXPECT_FALSE(pool.allocate());
    for (const std::uint64_t f : frames) pool.release(HostPhys{f});
    EXPECT_FALSE(pool.allocate()) << "a TLB may still walk it";
    const FramePool::Released released = pool.take_released();
    EXPECT_FALSE(pool.allocate());
    pool.give_back(released);
    pool.give_back(pool.take_released());  // nothing
    std::set<std::uint64_t> again;
    for (int i = 0; i < 3; ++i) {
        const auto f = pool.allocate();
        ASSERT_TRUE(f);
        EXPECT_EQ(pool.table(*f)[0], 0u);
        EXPECT_EQ(pool.table(*f)[511], 0u);
        again.insert(f->value());
    }
    EXPECT_EQ(again, frames);
    EXPECT_FALSE(pool.allocate());
}

// Random mappings and removals against a map of pages; tables in use against what they must be.
class RandomPageTable : public testing::TestWithParam<unsigned> {};

TEST_P(RandomPageTable, AgainstAMapOfPages) {
    std::mt19937_64 random{GetParam()};
    const unsigned max_level = GetParam() % 3;
    Tables backend{GetParam() % 2 == 0 ? 12u : 1000u};
    PageTable table{backend, backend.root, max_level};
    struct Range {
        std::uint64_t address, physical, size;
    };
    std::vector<Range> ranges;
    const auto overlaps = [&](std::uint64_t address, std::uint64_t size) {
        for (const Range& r : ranges)
            if (address < r.address + r.size && r.address < address + size) return true;
        return false;
    };
    const std::uint64_t units[] = {4096, 4096, mib2, mib2, gib};
    for (unsigned step = 0; step < 600; ++step) {
        if (random() % 3 != 0 || ranges.empty()) {
            const std::uint64_t unit = units[random() % 5];
            std::uint64_t address = random() % 4 * (512ull << 30) + random() % 6 * gib;
            address += random() % 3 * mib2 + random() % 4 * 4096;
            address &= ~(unit - 1);
            // Mostly the same offset within the large page, so that large leaves come up.
            std::uint64_t physical = address % gib + random() % 8 * gib;
            if (random() % 4 == 0) physical += 4096;
            std::uint64_t size = unit * (1 + random() % 3);
            if (random() % 4 == 0) size += 4096;
            if (table.leaves(address, HostPhys{physical}, size, 3000) >= 3000) continue;
            const unsigned before = backend.count();
            const Status s = table.map(address, HostPhys{physical}, size, flags);
            if (overlaps(address, size)) {
                ASSERT_NE(s, Status::ok);
            } else {
                ASSERT_NE(s, Status::occupied);
            }
            if (s == Status::ok) {
                ranges.push_back({address, physical, size});
            } else {
                ASSERT_EQ(backend.count(), before);
            }
        } else {
            const std::size_t i = random() % ranges.size();
            table.unmap(ranges[i].address, ranges[i].size);
            ranges.erase(ranges.begin() + static_cast<long>(i));
        }
        // The tables that the leaves need, no more and no fewer.
        std::set<std::pair<unsigned, std::uint64_t>> needed;
        for (const Range& r : ranges) {
            for (std::uint64_t done = 0; done < r.size;) {
                const unsigned level =
                    best_level(r.address + done, r.physical + done, r.size - done, max_level);
                for (unsigned l = level; l < 3; ++l)
                    needed.insert({l, (r.address + done) >> (21 + 9 * l)});
                const std::optional<Leaf> leaf = table.lookup(r.address + done);
                ASSERT_TRUE(leaf);
                ASSERT_EQ(leaf->level, level);
                ASSERT_EQ(leaf->physical.value(), r.physical + done);
                done += leaf_size(level);
            }
        }
        ASSERT_EQ(backend.count(), needed.size()) << "step " << step;
        for (unsigned k = 0; k < 8; ++k) {
            const std::uint64_t probe = random() % 4 * (512ull << 30) + random() % (7 * gib);
            ASSERT_EQ(table.lookup(probe).has_value(), overlaps(probe & ~4095ull, 1));
        }
    }
    while (!ranges.empty()) {
        table.unmap(ranges.back().address, ranges.back().size);
        ranges.pop_back();
    }
    EXPECT_EQ(backend.count(), 0u);
}
INSTANTIATE_TEST_SUITE_P(Seeds, RandomPageTable, testing::Range(0u, 12u));

}  // namespace
}  // namespace margay
