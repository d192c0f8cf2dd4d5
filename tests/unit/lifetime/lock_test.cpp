// Which calls take a lock, and which wait for which.
#include "guest.hpp"
#include "ipc_fixture.hpp"
#include "ukernel/core/estate.hpp"

namespace margay {
namespace {

class Locks : public Ipc {
  protected:
    template <typename F>
    static std::uint64_t taken_by(F f) {
        const std::uint64_t before = estate::taken;
        f();
        return estate::taken - before;
    }
};

TEST_F(Locks, WhatDoesNotChangeTheTreeTakesNone) {
    Thread& h = server(20, 30);
    portal(22, 20);
    Vcpu& v = vcpu(30, 22);
    ASSERT_NO_FATAL_FAILURE(start(v, 33, h));
    s.make(ObjectType::event, 60, kib4);
    s.make(ObjectType::irq, 70, kib4, {first::irq_control, 17});
    ASSERT_EQ(s.call(Syscall::irq_ctl, {70, 0, 60, 8}), Status::ok);
    const auto none = [&](const char* what, Syscall call,
                          std::initializer_list<std::uint64_t> arguments) {
        EXPECT_EQ(taken_by([&] { EXPECT_EQ(s.call(call, arguments), Status::ok) << what; }), 0u)
            << what;
    };
    none("signal", Syscall::signal, {60, 1});
    none("wait", Syscall::wait, {60, no_deadline});
    none("acknowledge", Syscall::irq_ctl, {70, 2});
    none("port write", Syscall::memory_ctl, {first::ports, 2, 0x3f8, 1, 7});
    none("port read", Syscall::memory_ctl, {first::ports, 1, 0x3f8, 1});
    none("query of memory", Syscall::memory_ctl, {first::ram, 0});
    none("query of a core", Syscall::core_ctl, {first::core0, 0});
    none("query of a vCPU", Syscall::vcpu_ctl, {33, 8});
    none("recall", Syscall::vcpu_ctl, {33, 3});
    ASSERT_EQ(System::leave(), &h);
    none("read_state", Syscall::vcpu_ctl, {33, 4, state::all});
    ASSERT_EQ(System::leave(), &h);
    EXPECT_EQ(taken_by([&] { reply(h, Action::resume, v.sequence); }), 0u) << "reply to an exit";
    none("name", Syscall::domain_ctl, {first::domain, 0, 'x'});
    // Calls and replies, also of callers that had to wait.
    Thread& a = thread(90, 40);
    Thread& b = thread(94, 40);
    EXPECT_EQ(taken_by([&] {
                  System::leave();
                  System::trap(a, Syscall::call, {22, 1});
                  System::leave();
                  System::trap(b, Syscall::call, {22, 2});
                  System::leave();
                  System::trap(h, Syscall::reply_wait, {});
                  System::leave();
              }),
              0u)
        << "call and reply";
    EXPECT_EQ(taken_by([&] { s.call(Syscall::thread_ctl, {94, 6}); }), 0u) << "kill";
    // And one that does change the tree.
    EXPECT_GT(taken_by([&] { s.call(Syscall::copy, {60, pair(first::domain, 50), 1}); }), 0u);
}

TEST_F(Locks, OneEstateDoesNotWaitForAnother) {
    ASSERT_NO_FATAL_FAILURE(s.carve_estate(30, 16 * kib4));
    ASSERT_NO_FATAL_FAILURE(s.carve_estate(40, 16 * kib4));
    s.carve(20, 64 * kib4);
    const Estate one = s.domain->slots[30].estate, two = s.domain->slots[40].estate;
    EXPECT_NE(one, two);
    EXPECT_NE(one, 0);
    ASSERT_EQ(s.call(Syscall::create, {pair(3, 31), 30, s.domain->slots[30].base, kib4}),
              Status::ok);
    EXPECT_EQ(s.domain->slots[31].estate, one) << "what is derived is of the estate";
    EXPECT_EQ(s.call(Syscall::create, {pair(3, 50), 20, s.domain->slots[20].base, kib4, 2}),
              Status::bad_argument)
        << "unknown flags";
    // Somebody holds the one for ever: what is about the other is done all the same.
    EstateLock held;
    ASSERT_FALSE(held.want(one));
    held.take_wanted();
    EXPECT_EQ(s.call(Syscall::map, {pair(40, first::domain), 1 << 21, 0, kib4, 3}), Status::ok);
    EXPECT_EQ(s.call(Syscall::copy, {40, pair(first::domain, 60), right::all}), Status::ok);
    EXPECT_EQ(s.call(Syscall::revoke, {40, 0}), Status::ok);
    EXPECT_EQ(s.call(Syscall::revoke, {40, 1}), Status::ok);
    // What is about the first waits, until it is free.
    bool waited = false;
    machine::now.on_pause = [&] {
        waited = true;
        held.release();
    };
    EXPECT_EQ(s.call(Syscall::map, {pair(30, first::domain), 1 << 21, 0, kib4, 3}), Status::in_use)
        << "it is carved";
    EXPECT_TRUE(waited);
    machine::now.on_pause = nullptr;
}

// A Domain of one estate holds capabilities and mappings of many others: all of them go with it.
TEST_F(Locks, ARevocationReachesIntoOtherEstates) {
    constexpr unsigned count = 30;
    s.make(ObjectType::domain, 20, 1 << 20, {64, 64});
    for (unsigned i = 0; i < count; ++i) {
        ASSERT_NO_FATAL_FAILURE(s.carve_estate(30 + i, 4 * kib4));
        ASSERT_EQ(s.call(Syscall::copy, {30 + i, pair(20, i), right::all}), Status::ok);
        ASSERT_EQ(s.call(Syscall::map, {pair(30 + i, 20), 0x100000 + i * kib4, 0, kib4, 3}),
                  Status::ok);
    }
    ASSERT_EQ(s.call(Syscall::revoke, {21, 0}), Status::ok);
    EXPECT_EQ(s.domain->slots[21].uses, 0u);
    for (unsigned i = 0; i < count; ++i) {
        EXPECT_TRUE(s.domain->slots[30 + i].children.empty());
        EXPECT_EQ(s.domain->slots[30 + i].uses, 0u);
    }
}

// The root of an estate hangs in its parent's: both locks are needed to take it out, in each step.
TEST_F(Locks, TheRootOfAnEstateGoesWithItsParentsLock) {
    s.carve(20, 64 * kib4);
    const std::uint64_t base = s.domain->slots[20].base;
    ASSERT_EQ(s.call(Syscall::create, {pair(3, 30), 20, base, 32 * kib4, carve_flag::estate}),
              Status::ok);
    // Its removal takes more than one step, and another estate besides.
    ASSERT_EQ(s.call(Syscall::create, {pair(3, 31), 30, base, 20 * kib4}), Status::ok);
    ASSERT_EQ(s.call(Syscall::create, {pair(1, 32), 31, 16, 8}), Status::ok);
    ASSERT_NO_FATAL_FAILURE(s.carve_estate(40, kib4));
    ASSERT_EQ(s.call(Syscall::copy, {40, pair(32, 3), right::all}), Status::ok);
    EstateLock parent;
    ASSERT_FALSE(parent.want(s.domain->slots[20].estate));
    unsigned entries = 0;
    for (; !s.step(Syscall::revoke, {30, 1}); ++entries) {
        ASSERT_LT(entries, 100u);
        // Somebody works in the parent's estate between the steps, and during the next one.
        if (entries != 2) continue;
        parent.take_wanted();
        machine::now.on_pause = [&] {
            EXPECT_NE(s.domain->slots[30].parent, nullptr);
            parent.release();
        };
    }
    machine::now.on_pause = nullptr;
    EXPECT_GT(entries, 2u);
    EXPECT_EQ(s.domain->slots[30].type, ObjectType::none);
    EXPECT_TRUE(s.domain->slots[20].children.empty());
    EXPECT_EQ(s.domain->slots[20].uses, 0u);
    EXPECT_TRUE(s.domain->slots[40].children.empty());
}

// One of them is held by somebody else meanwhile: the revocation comes back for it.
TEST_F(Locks, ARevocationWaitsForAnotherEstate) {
    s.make(ObjectType::domain, 20, 1 << 20, {16, 8});
    ASSERT_NO_FATAL_FAILURE(s.carve_estate(30, 4 * kib4));
    ASSERT_EQ(s.call(Syscall::copy, {30, pair(20, 3), right::all}), Status::ok);
    EstateLock held;
    ASSERT_FALSE(held.want(s.domain->slots[30].estate));
    held.take_wanted();
    unsigned waits = 0;
    machine::now.on_pause = [&] {
        if (++waits == 5) held.release();
    };
    EXPECT_EQ(s.call(Syscall::revoke, {21, 0}), Status::ok);
    machine::now.on_pause = nullptr;
    EXPECT_EQ(waits, 5u);
    EXPECT_TRUE(s.domain->slots[30].children.empty());
    EXPECT_EQ(s.domain->slots[21].uses, 0u);
}

}  // namespace
}  // namespace margay
