#include "ukernel/core/run_queue.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <vector>

namespace margay {
namespace {

TEST(RunQueue, HighestPriorityFirstAndRoundRobinWithinOne) {
    RunQueue q;
    Budget b[5];
    const std::uint8_t priority[] = {3, 63, 3, 0, 3};
    for (unsigned i = 0; i < 5; ++i) b[i].priority = priority[i];
    EXPECT_EQ(q.highest(), -1);
    EXPECT_EQ(q.pop(), nullptr);
    for (Budget& x : b) q.push_back(x);
    EXPECT_EQ(q.highest(), 63);
    EXPECT_EQ(q.pop(), &b[1]);
    EXPECT_EQ(q.pop(), &b[0]);
    q.push_front(b[0]);  // was interrupted: goes on first
    EXPECT_EQ(q.pop(), &b[0]);
    q.push_back(b[0]);
    EXPECT_EQ(q.pop(), &b[2]);
    q.remove(b[4]);
    q.remove(b[4]);  // not queued: nothing happens
    EXPECT_EQ(q.pop(), &b[0]);
    EXPECT_FALSE(q.has(3));
    EXPECT_TRUE(q.has(0));
    EXPECT_EQ(q.pop(), &b[3]);
    EXPECT_EQ(q.highest(), -1);
}

TEST(RunQueue, RandomSequencesAgainstQueues) {
    std::mt19937 random{1};
    RunQueue q;
    std::vector<Budget> budgets(40);
    std::deque<Budget*> model[priorities];
    for (unsigned i = 0; i < budgets.size(); ++i)
        budgets[i].priority = static_cast<std::uint8_t>(i * 7 % 12 * 5);
    for (unsigned n = 0; n < 50000; ++n) {
        Budget& b = budgets[random() % budgets.size()];
        auto& line = model[b.priority];
        switch (random() % 4) {
        case 0:
        case 1:
            if (b.is_queued()) break;
            if (random() % 2 == 0)
                q.push_back(b), line.push_back(&b);
            else
                q.push_front(b), line.push_front(&b);
            break;
        case 2:
            q.remove(b);
            std::erase(line, &b);
            break;
        default: {
            int highest = -1;
            for (unsigned p = 0; p < priorities; ++p)
                if (!model[p].empty()) highest = static_cast<int>(p);
            ASSERT_EQ(q.highest(), highest);
            Budget* expected = nullptr;
            if (highest >= 0) {
                expected = model[highest].front();
                model[highest].pop_front();
            }
            ASSERT_EQ(q.pop(), expected);
        }
        }
        for (unsigned p = 0; p < priorities; ++p) ASSERT_EQ(q.has(p), !model[p].empty());
    }
    while (q.pop() != nullptr) {}
}

}  // namespace
}  // namespace margay
