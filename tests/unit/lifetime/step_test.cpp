// Long calls are made in steps: what happens between two of them, and what stays when the caller dies.
#include <cstring>

#include "ipc_fixture.hpp"

namespace margay {
namespace {

class Steps : public Ipc {
  protected:
    // Many capabilities below an Event, so that its revocation takes steps.
    void many_copies(Slot event, Slot domain, unsigned count) {
        s.make(ObjectType::event, event, kib4);
        s.make(ObjectType::domain, domain, 2 << 20, {count, 8});
        for (unsigned i = 0; i < count; ++i)
            ASSERT_EQ(s.call(Syscall::copy, {event, pair(domain, i), right::all}), Status::ok);
    }
};

TEST_F(Steps, ABigDomainIsClearedAPieceAtATime) {
    constexpr std::uint64_t slots = 20'000, bytes = 4 << 20;
    s.carve(20, bytes);
    const CapSlot& storage = s.domain->slots[20];
    std::memset(direct<void>(HostPhys{storage.base}), 0xff, bytes);
    unsigned steps = 1;
    for (; !s.step(Syscall::create, {pair(1, 21), 20, slots, 8}); ++steps) {
        // Nobody can have it for something else meanwhile.
        EXPECT_EQ(s.call(Syscall::map, {pair(20, first::domain), 1 << 21, 0, kib4, 3}),
                  Status::in_use);
        EXPECT_EQ(s.call(Syscall::create, {pair(3, 30), 20, storage.base, kib4}), Status::in_use);
        EXPECT_EQ(s.call(Syscall::create, {pair(7, 30), 20}), Status::in_use);
    }
    EXPECT_EQ(status_of(*s.boot), Status::ok);
    EXPECT_GT(steps, slots * slot_bytes / (64 << 10));
    const Domain& d = s.object<Domain>(21);
    for (unsigned i = 0; i < slots; ++i) ASSERT_EQ(d.slots[i].type, ObjectType::none) << i;
    ASSERT_EQ(s.call(Syscall::revoke, {20, 0}), Status::ok);
    EXPECT_EQ(storage.uses, 0u);
}

TEST_F(Steps, WhoTakesTheStorageBackEndsAnUnfinishedCreation) {
    s.carve(20, 4 << 20);
    const CapSlot& storage = s.domain->slots[20];
    ASSERT_FALSE(s.step(Syscall::create, {pair(1, 21), 20, 20'000, 8}));
    EXPECT_EQ(storage.extent, ExtentState::storage);
    ASSERT_EQ(s.call(Syscall::revoke, {20, 0}), Status::ok);
    EXPECT_EQ(storage.uses, 0u);
    EXPECT_EQ(s.call(Syscall::create, {pair(3, 30), 20, storage.base, kib4}), Status::ok);
}

// The slot is emptied and filled again between two steps: what is in it now was not meant.
TEST_F(Steps, ARevocationDoesNotGoOnWithWhatCameIntoItsSlot) {
    ASSERT_NO_FATAL_FAILURE(many_copies(60, 70, 500));
    ASSERT_EQ(s.call(Syscall::copy, {60, pair(first::domain, 80), right::all}), Status::ok);
    s.make(ObjectType::event, 90, kib4);
    ASSERT_FALSE(s.step(Syscall::revoke, {60, 1}));
    const Thread::Restart begun = s.boot->restart;
    ASSERT_TRUE(begun.under_way);
    // Another thread of the Domain finishes it, and puts something else there.
    Thread& other = thread(20, 10);
    ASSERT_EQ(s.call(other, Syscall::revoke, {60, 1}), Status::ok);
    ASSERT_EQ(s.call(other, Syscall::copy, {90, pair(first::domain, 60), right::all}), Status::ok);
    s.boot->restart = begun;
    EXPECT_TRUE(s.step(Syscall::revoke, {60, 1}));
    EXPECT_EQ(status_of(*s.boot), Status::ok) << "what was to go is gone";
    EXPECT_EQ(s.domain->slots[60].type, ObjectType::event);
    EXPECT_EQ(s.domain->slots[60].object, &s.object<Event>(90));
}

TEST_F(Steps, ADeathBetweenTwoStepsLeavesTheCapabilityUsable) {
    ASSERT_NO_FATAL_FAILURE(many_copies(60, 70, 500));
    Thread& t = thread(20, 10);
    s.call(t, Syscall::revoke, {60, 0}, 1);
    ASSERT_NE(t.rip, 0x401002u) << "it was not to be done in one step";
    ASSERT_TRUE(s.domain->slots[60].revoking);
    EXPECT_EQ(s.call(Syscall::copy, {60, pair(first::domain, 80), right::all}),
              Status::bad_capability);
    ASSERT_EQ(s.call(Syscall::thread_ctl, {20, 6}), Status::ok);
    EXPECT_FALSE(s.domain->slots[60].revoking);
    EXPECT_EQ(s.call(Syscall::copy, {60, pair(first::domain, 80), right::all}), Status::ok);
    EXPECT_EQ(s.call(Syscall::revoke, {60, 0}), Status::ok);
    EXPECT_TRUE(s.domain->slots[60].children.empty());
}

// … and an object that was only made unreachable can still be taken away.
TEST_F(Steps, ADeathInTheMiddleOfAnObjectsEndLeavesItToOthers) {
    s.make(ObjectType::domain, 60, 1 << 20, {16, 8});
    Thread& t = thread(20, 10);
    s.call(t, Syscall::revoke, {60, 1}, 1);
    ASSERT_EQ(s.domain->slots[60].removal, Removal::unreachable);
    ASSERT_EQ(s.call(Syscall::thread_ctl, {20, 6}), Status::ok);
    EXPECT_EQ(s.call(Syscall::revoke, {60, 1}), Status::ok);
    EXPECT_EQ(s.domain->slots[60].removal, Removal::none);
    EXPECT_EQ(s.domain->slots[61].uses, 0u);
}

// Carving does not look at the copies of an extent.
TEST_F(Steps, CarvingFindsOverlapsThroughAnyCopy) {
    s.carve(20, 64 * kib4);
    const std::uint64_t base = s.domain->slots[20].base;
    ASSERT_EQ(s.call(Syscall::copy, {20, pair(first::domain, 30), right::all}), Status::ok);
    ASSERT_EQ(s.call(Syscall::copy, {30, pair(first::domain, 31), right::all}), Status::ok);
    const auto carve = [&](Slot from, Slot to, std::uint64_t page, std::uint64_t pages) {
        return s.call(Syscall::create, {pair(3, to), from, base + page * kib4, pages * kib4});
    };
    EXPECT_EQ(carve(31, 40, 8, 4), Status::ok);
    EXPECT_EQ(carve(20, 41, 16, 4), Status::ok);
    EXPECT_EQ(carve(30, 42, 0, 9), Status::in_use);
    EXPECT_EQ(carve(20, 42, 11, 1), Status::in_use);
    EXPECT_EQ(carve(20, 42, 9, 20), Status::in_use);
    EXPECT_EQ(carve(20, 42, 12, 4), Status::ok);
    EXPECT_EQ(s.call(Syscall::revoke, {30, 1}), Status::ok);
    EXPECT_EQ(carve(20, 43, 8, 4), Status::ok) << "it went with the copy";
    EXPECT_EQ(carve(20, 44, 16, 4), Status::in_use);
}

}  // namespace
}  // namespace margay
