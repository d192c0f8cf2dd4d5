// Servers, clients and chains of calls on three cores, while others kill, destroy and make anew whatever
// there is. A call gets its own answer or an honest status; nothing stays behind that stops the living.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "libipc/system_call.hpp"
#include "tests/host_node/cores.hpp"
#include "tests/unit/kernel/system.hpp"

namespace margay::host_node {
namespace {

constexpr unsigned servers = 9, clients = 6, events = 4;
constexpr Slot destroyer_slot = 100, alarm_slot = 104;

// Each with its storage in the slot behind.
constexpr Slot server_slot(unsigned i) { return 20 + 4 * i; }
constexpr Slot portal_slot(unsigned i) { return 22 + 4 * i; }
constexpr Slot client_slot(unsigned i) { return 60 + 2 * i; }
constexpr Slot event_slot(unsigned i) { return 80 + 2 * i; }
constexpr Slot core_slot(unsigned core) {
    constexpr Slot slots[] = {first::core0, first::core1, first::core2};
    return slots[core];
}

std::uint64_t answer_to(std::uint64_t token) { return token * 0x9e37'79b9'7f4a'7c15 ^ token >> 7; }

class Chaos : public testing::TestWithParam<std::uint64_t> {
  protected:
    Chaos() : random_{GetParam()} {
        server_entry_ =
            cores.add_program([this](std::uint64_t i) { serve(static_cast<unsigned>(i)); });
        client_entry_ =
            cores.add_program([this](std::uint64_t i) { use(static_cast<unsigned>(i)); });
        destroyer_entry_ = cores.add_program([this](std::uint64_t) { destroy(); });
        for (unsigned i = 0; i < events; ++i)
            system.make(ObjectType::event, event_slot(i), page_size);
        system.make(ObjectType::event, alarm_slot, page_size);
        for (unsigned i = 0; i < servers; ++i) {
            make_thread(server_slot(i), i % 3, 10 + i, server_entry_, i);
            system.make(ObjectType::portal, portal_slot(i), page_size,
                        {server_slot(i), core_slot(i % 3)});
            start(server_slot(i));
        }
        for (unsigned i = 0; i < clients; ++i) {
            make_thread(client_slot(i), i % 3, 5 + i % 2, client_entry_, i);
            start(client_slot(i));
        }
        make_thread(destroyer_slot, 0, 40, destroyer_entry_, 0);
        start(destroyer_slot);
    }

    void make_thread(Slot slot, unsigned core, unsigned priority, std::uint64_t entry,
                     std::uint64_t argument) {
        system.make(ObjectType::thread, slot, page_size,
                    {first::domain, pair(core_slot(core), priority), entry, 0x7000, argument});
    }
    void start(Slot slot) { ASSERT_EQ(system.call(Syscall::thread_ctl, {slot, 0}), Status::ok); }

    // User code.
    void serve(unsigned self) {
        Received r = reply_wait({});
        for (std::mt19937_64 random{self};;) {
            const std::uint64_t token = r.message.words[0], depth = r.message.words[1];
            // Only upwards, so that no chain waits for itself.
            if (r.status == Status::ok && depth != 0 && self + 3 < servers) {
                const unsigned next = self + 3 * (1 + random() % ((servers - 1 - self) / 3));
                nap(random);
                ask(next, token + 1, depth - 1);
            }
            nap(random);
            r = reply_wait({0, {answer_to(token)}});
        }
    }
    // While it serves somebody, on his budget.
    static void nap(std::mt19937_64& random) {
        if (random() % 3 == 0)
            (void)wait(event_slot(random() % events), rdtsc() + random() % 5'000);
    }
    bool ask(unsigned server, std::uint64_t token, std::uint64_t depth) {
        Message m{1, {token, depth}};
        const Status s = call(portal_slot(server), m);
        if (s == Status::ok) {
            EXPECT_EQ(m.words[0], answer_to(token)) << "somebody else's answer";
            return true;
        }
        EXPECT_TRUE(s == Status::dead_partner || s == Status::bad_capability ||
                    s == Status::wrong_type)
            << to_text(s);
        return false;
    }
    void use(unsigned self) {
        std::mt19937_64 random{GetParam() * 100 + self};
        for (;;) {
            switch (random() % 8) {
            case 0: (void)signal(event_slot(random() % events), 1ull << self); break;
            case 1: (void)wait(event_slot(random() % events), rdtsc() + random() % 20'000); break;
            case 2: yield(); break;
            default: {
                const unsigned server = self % 3 + 3 * static_cast<unsigned>(random() % 3);
                answered_[self] += ask(server, ++token_ << 8, random() % 3);
            }
            }
        }
    }
    void destroy() {
        std::mt19937_64& random = random_;
        const auto pick = [&](std::uint64_t n) { return static_cast<unsigned>(random() % n); };
        while (!peace_) {
            const unsigned i = pick(servers), c = pick(clients);
            switch (pick(9)) {
            case 0: (void)thread_ctl(server_slot(i), ThreadOp::kill); break;
            case 1: (void)thread_ctl(client_slot(c), ThreadOp::kill); break;
            case 2: (void)revoke(server_slot(i) + 1); break;
            case 3: (void)revoke(client_slot(c) + 1); break;
            case 4: (void)portal_ctl(portal_slot(i), PortalOp::unbind); break;
            case 5: (void)revoke(portal_slot(i) + 1); break;
            case 6: (void)revoke(event_slot(pick(events)) + 1); break;
            case 7: (void)thread_ctl(server_slot(i), ThreadOp::suspend); break;
            default: break;
            }
            ++deeds_;
            if (pick(3) == 0) restore(i, c);
            (void)wait(alarm_slot, rdtsc() + random() % 40'000);
        }
        for (unsigned i = 0; i < servers; ++i) restore(i, i % clients);
        restored_ = true;
        (void)reply_wait({});
    }
    // Whatever is missing of them is made anew; what is there is left alone.
    void restore(unsigned i, unsigned c) {
        revive(server_slot(i), i % 3, 10 + i, server_entry_, i);
        (void)create_portal(portal_slot(i), portal_slot(i) + 1, no_slot, core_slot(i % 3));
        (void)portal_ctl(portal_slot(i), PortalOp::bind, server_slot(i));
        revive(client_slot(c), c % 3, 5 + c % 2, client_entry_, c);
        for (unsigned e = 0; e < events; ++e)
            (void)create(ObjectType::event, event_slot(e), event_slot(e) + 1);
    }
    static void revive(Slot slot, unsigned core, unsigned priority, std::uint64_t entry,
                       std::uint64_t argument) {
        // Only of the dead and the stopped.
        if (read_register(slot, ThreadRegister::rip) &&
            thread_ctl(slot, ThreadOp::start) == Status::dead_partner)
            (void)revoke(slot + 1);
        if (create_thread(slot, slot + 1, first::domain, core_slot(core), priority, entry, 0x7000,
                          argument) == Status::ok)
            (void)thread_ctl(slot, ThreadOp::start);
    }

    // A budget has one holder at most: the end of the chain of calls that its owner has begun.
    void check_budgets() {
        std::map<const Budget*, const Thread*> holder;
        std::vector<const Thread*> living;
        const auto look = [&](Slot slot) {
            if (system.domain->slots[slot].type != ObjectType::thread) return;
            const auto& t = system.object<Thread>(slot);
            if (t.state != ContextState::dead) living.push_back(&t);
        };
        for (unsigned i = 0; i < servers; ++i) look(server_slot(i));
        for (unsigned i = 0; i < clients; ++i) look(client_slot(i));
        look(destroyer_slot);
        for (const Thread* t : living) {
            const Budget* budget = nullptr;
            if (t->core->current == t)
                budget = t->core->budget;
            else if (t->state == ContextState::ready || t->state == ContextState::queued ||
                     t->state == ContextState::waiting)
                budget = t->on;
            if (budget == nullptr) continue;
            EXPECT_TRUE(holder.emplace(budget, t).second) << "a budget with two holders";
            const Context* first = t;
            while (first->caller != nullptr) first = first->caller;
            EXPECT_EQ(budget, &first->own) << "not that of the chain's beginning";
        }
    }

    void run(unsigned steps) {
        cores.after_step = [this](unsigned) { check_budgets(); };
        for (unsigned i = 0; i < steps && !HasFailure(); ++i)
            if (!cores.step(static_cast<unsigned>(random_() % machine::cores)) && i % 3 == 0)
                (void)cores.run([] { return false; }, 1);
    }

    System system;
    Cores cores;
    std::mt19937_64 random_;
    std::uint64_t server_entry_, client_entry_, destroyer_entry_;
    std::uint64_t token_ = 0, answered_[clients] = {};
    unsigned deeds_ = 0;
    bool peace_ = false, restored_ = false;
};

TEST_P(Chaos, NobodyGetsWrongAnswersAndTheLivingGoOn) {
    run(60'000);
    EXPECT_GT(deeds_, 100u);
    peace_ = true;
    EXPECT_TRUE(cores.run([this] { return restored_; }, 100'000));
    std::uint64_t before[clients];
    std::copy(std::begin(answered_), std::end(answered_), before);
    EXPECT_TRUE(cores.run(
        [&] {
            for (unsigned i = 0; i < clients; ++i)
                if (answered_[i] < before[i] + 20) return false;
            return true;
        },
        200'000));
    for (unsigned i = 0; i < clients; ++i)
        EXPECT_GE(answered_[i], before[i] + 20) << "client " << i << " does not go on";
    if (GetParam() == 1) std::printf("%u deeds, %lu calls\n", deeds_, token_);
}
INSTANTIATE_TEST_SUITE_P(Seeds, Chaos, testing::Range<std::uint64_t>(1, 9));

}  // namespace
}  // namespace margay::host_node
