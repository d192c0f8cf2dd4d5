// Each budget has at most one holder, always: random chains of calls, waits and deaths against that rule.
#include <map>
#include <random>

#include "ipc_fixture.hpp"
#include "ukernel/sched/scheduler.hpp"

namespace margay {
namespace {

class Budgets : public Ipc {
  protected:
    static constexpr unsigned servers = 6, clients = 4;
    static constexpr Slot first_thread = 20, first_portal = 60, events = 100;

    // Threads that can be anything: each has a portal, a priority and an Event that others signal.
    void build(std::mt19937& random) {
        for (unsigned i = 0; i < servers + clients; ++i) make(i, random);
    }
    void make(unsigned i, std::mt19937& random) {
        threads[i] = &thread(first_thread + 2 * i, 1 + random() % 4);
        portal(first_portal + 2 * i, first_thread + 2 * i);
        s.make(ObjectType::event, events + 2 * i, kib4);
    }
    // Everything that is derived from the thread's storage goes, its portal too.
    void remake(unsigned i, std::mt19937& random) {
        for (const Slot slot : {first_thread + 2 * i, first_portal + 2 * i, events + 2 * i}) {
            ASSERT_EQ(s.call(Syscall::revoke, {slot + 1, 1}), Status::ok);
        }
        make(i, random);
    }

    void check() {
        const Core& core = machine::core(0);
        std::map<const Budget*, const Context*> holder;
        const auto hold = [&](const Budget* b, const Context* c) {
            ASSERT_TRUE(holder.emplace(b, c).second) << "two hold one budget";
        };
        if (core.current != nullptr) hold(core.budget, core.current);
        for (Thread* t : threads) {
            if (t == core.current) {
                ASSERT_EQ(core.budget, &budget_of(*t));
                continue;
            }
            switch (t->state) {
            case ContextState::ready:
                ASSERT_EQ(t->on, &budget_of(*t));
                ASSERT_TRUE(t->on->is_queued());
                ASSERT_EQ(t->on->resume, t);
                hold(t->on, t);
                break;
            case ContextState::waiting:
            case ContextState::queued:
            case ContextState::stopped:
                ASSERT_EQ(t->on, &budget_of(*t));
                ASSERT_FALSE(t->on->is_queued());
                hold(t->on, t);
                break;
            case ContextState::calling: ASSERT_EQ(t->callee->caller, t); break;
            default: break;
            }
            if (t->state == ContextState::accepting || t->state == ContextState::dead) {
                ASSERT_FALSE(t->own.is_queued());
                ASSERT_EQ(t->caller, nullptr);
            }
        }
        for (Thread* t : threads) {
            const Portal& p = s.object<Portal>(portal_of(t));
            ASSERT_TRUE(p.handler == nullptr || p.handler->state != ContextState::dead);
        }
    }

    Slot portal_of(const Thread* t) const {
        for (unsigned i = 0;; ++i)
            if (threads[i] == t) return first_portal + 2 * i;
    }
    Thread* threads[servers + clients] = {};
};

TEST_F(Budgets, RandomChainsAndDeaths) {
    unsigned depth_seen = 0, deaths = 0;
    for (unsigned seed = 0; seed < 60; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        s.~System();
        new (&s) System;
        std::mt19937 random{seed};
        build(random);
        for (unsigned n = 0; n < 400; ++n) {
            const unsigned i = random() % (servers + clients);
            auto* t = static_cast<Thread*>(System::leave());
            switch (random() % 12) {
            case 0:
            case 1:
            case 2:
            case 3:
                if (t != nullptr) System::trap(*t, Syscall::call, {first_portal + 2 * i, n});
                break;
            case 4:
            case 5:
            case 6:
                if (t != nullptr) System::trap(*t, Syscall::reply_wait, {0, n});
                break;
            case 7:
                if (t != nullptr) System::trap(*t, Syscall::wait, {events + 2 * i, no_deadline});
                break;
            case 8:
            case 9: ASSERT_EQ(s.call(Syscall::signal, {events + 2 * i, 1}), Status::ok); break;
            case 10:
                // As a fault would, or by order.
                if (threads[i]->state == ContextState::dead) break;
                ASSERT_EQ(s.call(Syscall::thread_ctl, {first_thread + 2 * i, 6}), Status::ok);
                ++deaths;
                break;
            default: ASSERT_NO_FATAL_FAILURE(remake(i, random)); break;
            }
            unsigned depth = 0;
            for (const Context* c = machine::core(0).current; c != nullptr; c = c->caller) ++depth;
            depth_seen = std::max(depth_seen, depth);
            ASSERT_NO_FATAL_FAILURE(check()) << "step " << n;
        }
    }
    EXPECT_GE(depth_seen, 4u) << "no long chains came about";
    EXPECT_GE(deaths, 100u);
}

// What shared/cases showed: A calls B, B calls C, A dies, C replies.
TEST_F(Budgets, TheLastServerKeepsItsOwnBudgetWhenTheFirstCallerDies) {
    Thread& c = server(20, 30);
    portal(22, 20);
    Thread& b = server(30, 31);
    portal(32, 30);
    Thread& a = thread(40, 10);
    ASSERT_EQ(System::leave(), &a);
    ASSERT_EQ(System::trap(a, Syscall::call, {32}), &b);
    ASSERT_EQ(System::trap(b, Syscall::call, {22}), &c);
    ASSERT_EQ(s.call(Syscall::thread_ctl, {40, 6}), Status::ok);
    EXPECT_EQ(System::leave(), &c);
    EXPECT_EQ(machine::core(0).budget, &b.own) << "b is the first in its chain now";
    EXPECT_EQ(System::trap(c, Syscall::reply_wait, {}), &b);
    EXPECT_EQ(machine::core(0).budget, &b.own);
    // c ends, and its storage with it: nobody has its budget.
    ASSERT_EQ(s.call(Syscall::revoke, {21, 0}), Status::ok);
    EXPECT_EQ(System::leave(), &b);
    EXPECT_EQ(machine::core(0).budget, &b.own);
}

}  // namespace
}  // namespace margay
