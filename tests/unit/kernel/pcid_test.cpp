#include "ukernel/memory/pcid.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "machine.hpp"
#include "ukernel/object/domain.hpp"

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

Domain& fresh_domain() {
    constexpr std::uint64_t bytes = 1 << 20;
    const HostPhys base = machine::take_ram(bytes);
    std::memset(direct<void>(base), 0, bytes);
    return **Domain::create(base, bytes, 8, 8);
}

// A Domain's number is free again when no core has a translation with it, whether the Domain was loaded
// there or not; and with or without INVPCID.
TEST(Pcid, ADestroyedDomainsNumberComesBackAfterTheFlush) {
    for (const bool invpcid : {false, true}) {
        machine::reset();
        machine::now.pcid = true;
        machine::now.invpcid = invpcid;
        Domain& a = fresh_domain();
        Domain& b = fresh_domain();
        EXPECT_NE(PcidPool::pcid_of(a.cr3), 0u);
        EXPECT_NE(PcidPool::pcid_of(a.cr3), PcidPool::pcid_of(b.cr3));
        EXPECT_EQ(a.cr3 & ~PcidPool::keep & ~4095ull, a.root().value());
        EXPECT_NE(a.cr3 & PcidPool::keep, 0u);
        a.cores.add(0);
        a.cores.add(2);
        machine::core(2).cr3 = a.cr3;
        machine::core(1).cr3 = b.cr3;
        std::set<unsigned> flushed;
        machine::now.on_full_flush = [&](unsigned core) {
            EXPECT_NE(machine::core(core).cr3, a.cr3) << "flushed while it can still be used";
            flushed.insert(core);
        };
        const unsigned number = PcidPool::pcid_of(a.cr3);
        a.destroy();
        EXPECT_EQ(flushed, (std::set<unsigned>{0, 2}));
        EXPECT_EQ(machine::core(1).cr3, b.cr3);
        Domain& c = fresh_domain();
        EXPECT_EQ(PcidPool::pcid_of(c.cr3), number);
        machine::now.on_full_flush = nullptr;
        b.destroy();
        c.destroy();
    }
}

TEST(Pcid, WithoutThemNothingIsTagged) {
    machine::reset();
    Domain& d = fresh_domain();
    EXPECT_EQ(d.cr3, d.root().value());
    d.destroy();
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
