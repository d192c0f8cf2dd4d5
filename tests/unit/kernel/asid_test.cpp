#include "ukernel/arch/x86_64/svm/asid.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace margay {
namespace {

TEST(Asid, FirstEntryTakesAFreshOneAndKeepsIt) {
    AsidState s{1, 16, 1};
    const AsidGrant first = grant_asid(s, 0, 0, true);
    EXPECT_EQ(first.asid, 1u);
    EXPECT_FALSE(first.flush_all);
    const AsidGrant again = grant_asid(s, first.asid, s.generation, false);
    EXPECT_EQ(again.asid, 1u);
    EXPECT_FALSE(again.flush_all);
    EXPECT_EQ(grant_asid(s, first.asid, s.generation, true).asid, 2u);
}

// A processor that keeps every translation until told to flush: no guest may ever see one that its
// tables no longer hold, and no two guests share one.
TEST(Asid, NoStaleTranslationCanEverBeUsed) {
    for (unsigned seed = 0; seed < 40; ++seed) {
        std::mt19937 random{seed};
        AsidState s{1, 2 + seed % 15, 1};
        struct Space {
            std::uint64_t generation = 1;
        };
        struct Guest {
            unsigned space;
            std::uint32_t asid = 1, asid_generation = 0;
            std::uint64_t tables_generation = 0;
        };
        struct Cached {
            unsigned guest, space;
            std::uint64_t generation;
        };
        std::vector<Space> spaces(4);
        std::vector<Guest> guests;
        for (unsigned i = 0; i < 8; ++i) guests.push_back({i % 4});
        std::map<std::uint32_t, Cached> tlb;  // by ASID: whose translations of which age it holds
        unsigned flushes = 0;
        for (unsigned n = 0; n < 4000; ++n) {
            if (random() % 4 == 0) {
                ++spaces[random() % spaces.size()].generation;  // a mapping was removed
                continue;
            }
            const unsigned i = static_cast<unsigned>(random() % guests.size());
            Guest& g = guests[i];
            const std::uint64_t now = spaces[g.space].generation;
            // As backend::enter does.
            if (now != g.tables_generation || g.asid_generation != s.generation) {
                const AsidGrant grant =
                    grant_asid(s, g.asid, g.asid_generation, now != g.tables_generation);
                g.asid = grant.asid;
                if (grant.flush_all) {
                    tlb.clear();
                    ++flushes;
                }
                g.asid_generation = s.generation;
                g.tables_generation = now;
            }
            ASSERT_NE(g.asid, 0u) << "the host's";
            ASSERT_LT(g.asid, s.limit);
            const auto cached = tlb.find(g.asid);
            if (cached != tlb.end()) {
                ASSERT_EQ(cached->second.guest, i) << "another guest's translations";
                ASSERT_EQ(cached->second.generation, now) << "a removed translation";
            }
            tlb[g.asid] = {i, g.space, now};
        }
        EXPECT_GT(flushes, 0u);
    }
}

}  // namespace
}  // namespace margay
