#include "ukernel/memory/pcid.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <thread>
#include <vector>

namespace margay {
namespace {

TEST(Pcid, EveryNumberOnceThenTheSharedOne) {
    auto pool = std::make_unique<PcidPool>();
    std::set<unsigned> taken;
    for (unsigned i = 1; i < PcidPool::count; ++i) taken.insert(pool->take());
    EXPECT_EQ(taken.size(), PcidPool::count - 1);
    EXPECT_EQ(*taken.begin(), 1u) << "0 is the kernel's";
    EXPECT_EQ(*taken.rbegin(), PcidPool::count - 1);
    EXPECT_EQ(pool->take(), 0u);
    pool->give_back(0);
    EXPECT_EQ(pool->take(), 0u) << "it never was anybody's own";
    pool->give_back(1234);
    EXPECT_EQ(pool->take(), 1234u);
    EXPECT_EQ(pool->take(), 0u);
}

TEST(Pcid, OnlyANumberOfItsOwnKeepsTranslations) {
    const HostPhys root{0x12345000};
    EXPECT_EQ(PcidPool::value(root, 0), 0x12345000u);
    EXPECT_EQ(PcidPool::value(root, 0xabc), 0x8000'0000'1234'5abc);
    EXPECT_EQ(PcidPool::pcid_of(PcidPool::value(root, 0xabc)), 0xabcu);
    EXPECT_EQ(PcidPool::pcid_of(PcidPool::value(root, 0)), 0u);
}

TEST(Pcid, CoresTakeAndGiveBackAtTheSameTime) {
    auto pool = std::make_unique<PcidPool>();
    std::vector<std::atomic<int>> owners(PcidPool::count);
    std::vector<std::thread> cores;
    for (unsigned c = 0; c < 4; ++c) {
        cores.emplace_back([&] {
            std::vector<unsigned> mine;
            for (unsigned i = 0; i < 20000; ++i) {
                const unsigned pcid = pool->take();
                ASSERT_NE(pcid, 0u);
                ASSERT_EQ(owners[pcid].fetch_add(1), 0) << "two have " << pcid;
                mine.push_back(pcid);
                if (mine.size() < 10) continue;
                for (const unsigned p : mine) {
                    owners[p].fetch_sub(1);
                    pool->give_back(p);
                }
                mine.clear();
            }
        });
    }
    for (std::thread& t : cores) t.join();
}

}  // namespace
}  // namespace margay
