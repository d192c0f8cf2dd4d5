// A core that is in the kernel keeps what it has found: nothing is reused before it has passed an epoch.
#include "ipc_fixture.hpp"
#include "ukernel/core/epoch.hpp"
#include "ukernel/object/capability.hpp"

namespace margay {
namespace {

using Lifetime = Ipc;

// Core 1 is in the kernel, without end, while core 0 waits for it in `call`; looks at the world from there,
// then lets it go.
template <typename Call, typename Look>
void with_core_in_kernel(Call call, Look look) {
    constexpr unsigned turns = 20;
    unsigned waited = 0;
    machine::now.hold_kicks = true;
    machine::now.on_pause = [&] {
        if (++waited == 1) look();
        if (waited < turns) return;
        machine::now.hold_kicks = false;
        machine::serve_kicks();
    };
    call();
    machine::now.on_pause = nullptr;
    machine::now.hold_kicks = false;
    EXPECT_GE(waited, turns) << "nobody waited for the core";
}

TEST_F(Lifetime, WhatWasFoundStaysUntilTheCoreHasPassed) {
    // A thread of the same Domain on core 1 makes that core one that looks into the table.
    thread(20, 10, first::core1);
    s.make(ObjectType::event, 60, kib4);
    CapSlot& slot = s.domain->slots[60];
    Event* const event = &s.object<Event>(60);
    with_core_in_kernel(
        [&] {
            ASSERT_EQ(s.call(Syscall::revoke, {60, 1}), Status::ok);
        },
        [&] {
            EXPECT_EQ(slot.type, ObjectType::none) << "can still be found";
            EXPECT_EQ(slot.object, event) << "taken from under who has found it";
            EXPECT_NE(slot.rights, 0);
            EXPECT_EQ(slot.removal, Removal::condemned) << "the slot can be filled";
            EXPECT_EQ(s.domain->slots[61].uses, 1u) << "its storage is free";
        });
    EXPECT_EQ(slot.removal, Removal::none);
    EXPECT_EQ(s.domain->slots[61].uses, 0u);
}

TEST_F(Lifetime, ACopyIsNotReusedEither) {
    thread(20, 10, first::core1);
    s.make(ObjectType::event, 60, kib4);
    ASSERT_EQ(s.call(Syscall::copy, {60, pair(first::domain, 70), right::signal}), Status::ok);
    with_core_in_kernel(
        [&] {
            ASSERT_EQ(s.call(Syscall::revoke, {60, 0}), Status::ok);
        },
        [&] {
            Result<Reservation> r = Reservation::make(*s.domain, 70);
            EXPECT_EQ(r.status(), Status::occupied);
        });
    EXPECT_TRUE(Reservation::make(*s.domain, 70));
}

TEST_F(Lifetime, MappedMemoryIsNotReusedBeforeTheFlush) {
    s.make(ObjectType::domain, 20, 1 << 20, {16, 8});
    s.make(ObjectType::thread, 30, kib4, {20, pair(first::core1, 5), 0x401000, 0x7000});
    s.carve(40, kib4);
    ASSERT_EQ(s.call(Syscall::map, {pair(40, 20), 0x100000, 0, kib4, 3}), Status::ok);
    Domain& d = s.object<Domain>(20);
    with_core_in_kernel(
        [&] {
            ASSERT_EQ(s.call(Syscall::revoke, {40, 0}), Status::ok);
        },
        [&] {
            EXPECT_FALSE(d.tables().lookup(0x100000));
            EXPECT_EQ(s.domain->slots[40].uses, 1u)
                << "the memory is free while a TLB still leads to it";
            EXPECT_NE(d.any_mapping(), nullptr);
        });
    EXPECT_EQ(s.domain->slots[40].uses, 0u);
    EXPECT_EQ(d.any_mapping(), nullptr);
}

// Cores that never looked into the table are not waited for, and not disturbed.
TEST_F(Lifetime, OtherCoresAreLeftAlone) {
    s.make(ObjectType::event, 60, kib4);
    machine::now.hold_kicks = true;
    machine::now.kicked = 0;
    ASSERT_EQ(s.call(Syscall::revoke, {60, 1}), Status::ok);
    EXPECT_EQ(machine::now.kicked, 0u);
}

// A core that waits for work on another one is in the kernel: it keeps what it has found, and serves.
TEST_F(Lifetime, WaitingForWorkIsNoEpoch) {
    Core& core = machine::core(0);
    const std::uint64_t before = core.epoch;
    thread(20, 10, first::core1);
    machine::now.hold_kicks = true;
    bool served = false;
    machine::now.on_pause = [&] {
        if (served) return;
        served = true;
        EXPECT_EQ(core.epoch.load(), before);
        machine::now.hold_kicks = false;
        machine::serve_kicks();
        EXPECT_EQ(core.epoch.load(), before) << "by serving others";
    };
    run_on(machine::core(1), [] {});
    EXPECT_TRUE(served);
    machine::now.on_pause = nullptr;
}

}  // namespace
}  // namespace margay
