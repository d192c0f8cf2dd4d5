// Single cases of capabilities, derivation and revocation; all of them in random order are in
// capability_walk_test.cpp.
#include "system.hpp"
#include "ukernel/tree/derivation.hpp"

namespace margay {
namespace {

constexpr std::uint64_t kib4 = 4096, mib2 = 2 << 20, gib = 1 << 30;

TEST(Capabilities, DepthIsLimited) {
    System s;
    Slot last = first::event_slot;
    s.make(ObjectType::event, last, kib4);
    Status status = Status::ok;
    unsigned depth = s.domain->slots[last].depth;
    for (Slot to = 60; status == Status::ok && to < first::slots; ++to) {
        status = s.call(Syscall::copy, {last, pair(first::domain, to), right::all});
        if (status == Status::ok) last = to, ++depth;
    }
    EXPECT_EQ(status, Status::too_deep);
    EXPECT_EQ(depth, max_derivation_depth);
    EXPECT_EQ(s.domain->slots[last + 1].type, ObjectType::none);
    EXPECT_EQ(s.call(Syscall::revoke, {first::event_slot, 1}), Status::ok);
    EXPECT_EQ(s.domain->slots[first::event_slot + 1].uses, 0u);
    for (Slot to = first::event_slot; to < first::slots; ++to)
        if (to != first::event_slot + 1) {
            EXPECT_EQ(s.domain->slots[to].type, ObjectType::none);
        }
}

TEST(Capabilities, ObjectTypesBeyondTheLastAreRefused) {
    System s;
    s.carve(20, kib4);
    for (const std::uint64_t type :
         {0ull, 9ull, 10ull, 13ull, 14ull, 0x40ull, 0x103ull, 0x107ull, 0xffff'ff07ull})
        EXPECT_EQ(s.call(Syscall::create, {pair(type, 21), 20, 0, 0}), Status::wrong_type) << type;
    EXPECT_EQ(s.domain->slots[21].type, ObjectType::none);
}

// A revocation takes many steps when there is much to remove, and others run in between. Nobody can put
// anything into a Domain that is going away.
TEST(Capabilities, NothingEntersADomainThatIsGoingAway) {
    System s;
    s.make(ObjectType::domain, 20, 2 << 20, {9000, 8});
    s.make(ObjectType::event, 30, kib4);
    for (unsigned i = 1; i < 9000; ++i)
        ASSERT_EQ(s.call(Syscall::copy, {30, pair(20, i), right::all}), Status::ok);
    const CapSlot& storage = s.domain->slots[21];
    unsigned steps = 1;
    for (; !s.step(Syscall::revoke, {21, 0}); ++steps) {
        EXPECT_EQ(s.call(Syscall::copy, {30, pair(20, 2), right::all}), Status::bad_capability);
        EXPECT_EQ(s.call(Syscall::map, {pair(first::big, 20), 0x100000, 0, kib4, 1}),
                  Status::bad_capability);
        EXPECT_EQ(s.call(Syscall::create, {pair(3, 40), 21, storage.base, kib4}),
                  Status::bad_capability);
    }
    EXPECT_GT(steps, 100u) << "bounded work in each";
    EXPECT_TRUE(s.domain->slots[30].children.empty()) << "a copy outlived its table";
    EXPECT_EQ(storage.uses, 0u);
}

// A mapping that fails half way was visible for a moment: no TLB may keep it, and the page tables that
// it took are there for the next one.
TEST(Capabilities, FailedMappingLeavesNothingBehind) {
    System s;
    s.make(ObjectType::space, 20, 7 * kib4 + kib4 + 3 * kib4, {8});
    Space& space = s.object<Space>(20);
    ASSERT_EQ(s.call(Syscall::map, {pair(first::big, 20), 3 * kib4, 0, kib4, 1}), Status::ok);
    space.cores.add(0), space.cores.add(1);  // guests have run on both
    const std::uint64_t generation = space.generation(), before = machine::now.cr3_writes[1];
    EXPECT_EQ(s.call(Syscall::map, {pair(first::big, 20), 0, 0, 4 * kib4, 1}), Status::occupied);
    EXPECT_GT(space.generation(), generation);
    EXPECT_GT(machine::now.cr3_writes[1], before) << "the other core was not told";
    ASSERT_EQ(s.call(Syscall::revoke, {first::big, 0}), Status::ok);
    // Two pages on both sides of a border need six tables, and there are three.
    for (unsigned n = 0; n < 4; ++n)
        EXPECT_EQ(s.call(Syscall::map, {pair(first::big, 20), 512ull * gib - kib4, 0, 2 * kib4, 1}),
                  Status::no_memory);
    EXPECT_EQ(s.call(Syscall::map, {pair(first::big, 20), kib4, 0, kib4, 1}), Status::ok);
}

TEST(Capabilities, RevocationReachesTheOtherCore) {
    System s;
    s.make(ObjectType::domain, 20, 1 << 20, {16, 8});
    Domain& d = s.object<Domain>(20);
    s.make(ObjectType::thread, 30, kib4, {20, pair(first::core1, 5), 0x401000, 0x7000});
    ASSERT_EQ(s.call(Syscall::thread_ctl, {30, 0}), Status::ok);
    EXPECT_EQ(System::leave(1), &s.object<Thread>(30));
    EXPECT_EQ(machine::now.cr3[1], d.cr3);
    machine::switch_to(0);
    ASSERT_EQ(s.call(Syscall::map, {pair(first::big, 20), mib2, 0, mib2, 3}), Status::ok);
    const std::uint64_t before = machine::now.cr3_writes[1];
    ASSERT_EQ(s.call(Syscall::revoke, {first::big, 0}), Status::ok);
    EXPECT_GT(machine::now.cr3_writes[1], before) << "its TLB still has the mapping";
    EXPECT_FALSE(d.tables().lookup(mib2));
    // The Domain goes: the core must not keep its tables.
    ASSERT_EQ(s.call(Syscall::revoke, {21, 0}), Status::ok);
    EXPECT_NE(machine::now.cr3[1], d.cr3);
    EXPECT_EQ(System::leave(1), nullptr) << "its thread is dead";
}

TEST(Capabilities, LostStatePageStopsTheVcpu) {
    System s;
    s.make(ObjectType::space, 20, 20 * kib4, {8});
    s.carve(30, kib4);
    s.make(ObjectType::vcpu, 31, storage_vcpu, {20, first::core0, 30});
    Vcpu& v = s.object<Vcpu>(31);
    EXPECT_EQ(s.call(Syscall::create, {pair(7, 40), 30}), Status::in_use);
    EXPECT_EQ(s.call(Syscall::map, {pair(30, first::domain), mib2, 0, kib4, 3}), Status::ok)
        << "the VMM sees it";
    EXPECT_EQ(s.call(Syscall::revoke, {30, 0}), Status::ok);
    EXPECT_EQ(v.state, ContextState::dead);
    EXPECT_EQ(v.page, nullptr);
    EXPECT_EQ(s.call(Syscall::vcpu_ctl, {31, 4, state::all}), Status::in_use);
    EXPECT_EQ(s.call(Syscall::create, {pair(7, 40), 30}), Status::ok) << "free for another use";
    EXPECT_EQ(s.call(Syscall::revoke, {31, 1}), Status::ok);
}

}  // namespace
}  // namespace margay
