#include "servers/init/test_killer.hpp"

#include <gtest/gtest.h>

namespace margay::init {
namespace {

TEST(TestKiller, IntervalsAndTheirEnd) {
    TestKiller killer;
    killer.schedule(5);
    EXPECT_EQ(killer.next(), ~0ull) << "never, unless it is told";
    killer.configure(1000, 7);
    std::uint64_t now = 0;
    for (unsigned i = 0; i < 100; ++i) {
        killer.schedule(now);
        EXPECT_GE(killer.next(), now + 500);
        EXPECT_LE(killer.next(), now + 1500);
        now = killer.next();
    }
    killer.configure(0, 7);
    EXPECT_EQ(killer.next(), ~0ull) << "what was due is not any more";
    killer.schedule(now);
    EXPECT_EQ(killer.next(), ~0ull);
}

}  // namespace
}  // namespace margay::init
