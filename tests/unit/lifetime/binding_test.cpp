// What works through a capability ends with it; what is dead is not bound.
#include "guest.hpp"
#include "ipc_fixture.hpp"

namespace margay {
namespace {

class Bindings : public Ipc {
  protected:
    // A copy of a capability, to be revoked while the original lives.
    Slot copy_of(Slot slot, std::uint8_t rights = right::all, std::uint64_t badge = 0) {
        const Slot to = next_++;
        EXPECT_EQ(s.call(Syscall::copy, {slot, pair(first::domain, to), rights, badge}),
                  Status::ok);
        return to;
    }
    void revoke(Slot slot) { ASSERT_EQ(s.call(Syscall::revoke, {slot, 1}), Status::ok); }
    Slot event(Slot slot) {
        s.make(ObjectType::event, slot, kib4);
        return slot;
    }

  private:
    Slot next_ = 130;
};

TEST_F(Bindings, DeathEventEndsWithItsCapability) {
    Thread& t = thread(20, 10, first::core1);
    event(60);
    const Slot given = copy_of(60, right::signal, 4);
    ASSERT_EQ(s.call(Syscall::thread_ctl, {20, 2, given, ~0ull}), Status::ok);
    EXPECT_EQ(t.death_event, &s.object<Event>(60));
    EXPECT_EQ(t.death_bits, 4u);
    revoke(given);
    EXPECT_EQ(t.death_event, nullptr);
    ASSERT_EQ(s.call(Syscall::thread_ctl, {20, 6}), Status::ok);
    EXPECT_EQ(s.object<Event>(60).take(), 0u);
}

TEST_F(Bindings, DeathEventMovesAndIsTakenBack) {
    Thread& t = thread(20, 10);
    event(60), event(70);
    const Slot one = copy_of(60), two = copy_of(70);
    ASSERT_EQ(s.call(Syscall::thread_ctl, {20, 2, one, 1}), Status::ok);
    ASSERT_EQ(s.call(Syscall::thread_ctl, {20, 2, two, 2}), Status::ok);
    revoke(one);
    EXPECT_EQ(t.death_event, &s.object<Event>(70)) << "bound through another one since";
    ASSERT_EQ(s.call(Syscall::thread_ctl, {20, 2, no_slot, 0}), Status::ok);
    EXPECT_EQ(t.death_event, nullptr);
    EXPECT_TRUE(s.domain->slots[two].children.empty());
    // The thread goes first: nothing of it stays below the capability.
    ASSERT_EQ(s.call(Syscall::thread_ctl, {20, 2, two, 2}), Status::ok);
    ASSERT_EQ(s.call(Syscall::revoke, {21, 0}), Status::ok);
    EXPECT_TRUE(s.domain->slots[two].children.empty());
}

TEST_F(Bindings, ExitRowsEndWithTheirCapability) {
    Thread& h = server(20, 30);
    portal(22, 20);
    const Slot given = copy_of(22, right::call, 9);
    Vcpu& v = vcpu(30, given);
    ASSERT_NO_FATAL_FAILURE(start(v, 33, h));
    revoke(given);
    for (const ExitRow& row : v.rows) EXPECT_FALSE(row.active->is_bound());
    EXPECT_TRUE(s.object<Portal>(22).queue.empty());
}

// An exit that waits in the queue of a portal whose row goes keeps waiting, for another row.
TEST_F(Bindings, AQueuedExitOutlivesItsRow) {
    portal(22, no_slot);
    const Slot given = copy_of(22, right::call);
    Vcpu& v = vcpu(30, given);
    ASSERT_EQ(s.call(Syscall::vcpu_ctl, {33, 2}), Status::ok);
    System::leave();
    ASSERT_EQ(v.state, ContextState::queued);
    revoke(given);
    EXPECT_EQ(v.state, ContextState::stopped);
    EXPECT_TRUE(v.has_pending());
    EXPECT_TRUE(s.object<Portal>(22).queue.empty());
    Thread& h = server(50, 30);
    portal(54, 50);
    ASSERT_EQ(s.call(Syscall::vcpu_ctl, {33, 0, 0, 54, 0}), Status::ok);
    EXPECT_EQ(System::leave(), &h);
    EXPECT_EQ(h.gpr[gpr_rsi] & 0xff, static_cast<std::uint64_t>(ExitClass::startup));
}

TEST_F(Bindings, IrqEndsWithTheEventsCapability) {
    event(60);
    s.make(ObjectType::irq, 70, kib4, {first::irq_control, 17});
    const Slot given = copy_of(60, right::signal);
    ASSERT_EQ(s.call(Syscall::irq_ctl, {70, 0, given, 8}), Status::ok);
    EXPECT_FALSE(machine::now.line_masked[17]);
    revoke(given);
    EXPECT_TRUE(machine::now.line_masked[17]);
    EXPECT_EQ(s.object<Irq>(70).event, nullptr);
    Irq::fire_line(17);
    EXPECT_EQ(s.object<Event>(60).take(), 0u);
    // Acknowledging what nobody has does not open the line.
    ASSERT_EQ(s.call(Syscall::irq_ctl, {70, 2}), Status::ok);
    EXPECT_TRUE(machine::now.line_masked[17]);
}

TEST_F(Bindings, AnInterruptWithoutCauseIsNotActedOn) {
    event(60);
    s.make(ObjectType::irq, 70, kib4, {first::irq_control, 17});
    ASSERT_EQ(s.call(Syscall::irq_ctl, {70, 0, 60, 8}), Status::ok);
    machine::switch_to(1);
    Irq::fire_line(17);  // lines lead to core 0
    machine::switch_to(0);
    EXPECT_EQ(s.object<Event>(60).take(), 0u);
    EXPECT_FALSE(machine::now.line_masked[17]);
    Irq::fire_line(99);
    EXPECT_TRUE(machine::now.line_masked[99]);
}

TEST_F(Bindings, VcpuEventEndsWithItsCapability) {
    Thread& h = server(20, 30);
    portal(22, 20);
    Vcpu& v = vcpu(30, 22);
    ASSERT_NO_FATAL_FAILURE(start(v, 33, h));
    event(60);
    const Slot given = copy_of(60, right::wait);
    ASSERT_EQ(s.call(Syscall::vcpu_ctl, {33, 1, given}), Status::ok);
    revoke(given);
    EXPECT_EQ(v.event, nullptr);
    ASSERT_EQ(s.call(Syscall::signal, {60, 1}), Status::ok);
    EXPECT_EQ(v.attention, 0u);
    EXPECT_EQ(s.call(Syscall::vcpu_ctl, {33, 1, 60}), Status::ok) << "another may be bound";
}

TEST_F(Bindings, APortalsHandlerEndsWithTheThreadsCapability) {
    server(20, 30);
    const Slot given = copy_of(20, right::control);
    Portal& p = portal(22, given);
    EXPECT_EQ(p.handler, &s.object<Thread>(20));
    revoke(given);
    EXPECT_EQ(p.handler, nullptr);
    Thread& c = thread(30, 10);
    ASSERT_EQ(System::leave(), &c);
    System::trap(c, Syscall::call, {22});
    EXPECT_EQ(c.state, ContextState::queued);
}

TEST_F(Bindings, WhoWaitsThroughACapabilityWaitsNoMoreWithoutIt) {
    event(60);
    const Slot given = copy_of(60, right::wait);
    Thread& t = thread(20, 10, first::core1);
    ASSERT_EQ(System::leave(1), &t);
    System::trap(t, Syscall::wait, {given, no_deadline});
    ASSERT_EQ(t.state, ContextState::waiting);
    machine::switch_to(0);
    ASSERT_EQ(s.call(Syscall::copy, {60, pair(first::domain, 129), right::wait}), Status::ok);
    revoke(129);
    EXPECT_EQ(t.state, ContextState::waiting) << "it did not come by that one";
    revoke(given);
    EXPECT_EQ(System::leave(1), &t);
    EXPECT_EQ(status_of(t), Status::bad_capability);
}

TEST_F(Bindings, ACallerInTheQueueGoesWithItsCapability) {
    portal(22, no_slot);
    const Slot given = copy_of(22, right::call, 5);
    Thread& a = thread(30, 10);
    ASSERT_EQ(System::leave(), &a);
    System::trap(a, Syscall::call, {given});
    Thread& b = thread(40, 10);
    ASSERT_EQ(System::leave(), &b);
    System::trap(b, Syscall::call, {22});
    revoke(given);
    EXPECT_EQ(System::leave(), &a);
    EXPECT_EQ(status_of(a), Status::bad_capability);
    EXPECT_EQ(b.state, ContextState::queued);
}

// Dead partners are refused when it comes to binding, not when it is asked for.
TEST_F(Bindings, AHandlerThatDiesMeanwhileIsNotBound) {
    Thread& h = thread(20, 10, first::core1);
    s.carve(31, kib4);
    machine::now.hold_kicks = true;
    bool dead = false;
    machine::now.on_pause = [&] {
        if (!dead) {
            dead = true;
            machine::switch_to(1);
            h.die();
            machine::switch_to(0);
        }
        machine::serve_kicks();
    };
    EXPECT_EQ(s.call(Syscall::create, {pair(6, 30), 31, 20, first::core1}), Status::dead_partner);
    EXPECT_TRUE(dead);
    EXPECT_EQ(s.domain->slots[30].type, ObjectType::none);
    EXPECT_EQ(s.domain->slots[31].uses, 0u) << "its storage is free again";
    EXPECT_TRUE(s.domain->slots[20].children.empty());
    machine::now.on_pause = nullptr;
}

TEST_F(Bindings, AVmmMayLookAtItsVcpuAndNoMore) {
    Thread& h = server(20, 30);
    portal(22, 20);
    Vcpu& v = vcpu(30, 22);
    ASSERT_NO_FATAL_FAILURE(start(v, 33, h));
    ASSERT_EQ(System::exit_guest(v, ExitClass::halt), &h);
    event(60);
    const Slot given = copy_of(33, right::inspect);
    EXPECT_EQ(s.call(Syscall::vcpu_ctl, {given, 4, state::gpr_low}), Status::ok);
    EXPECT_EQ(s.call(Syscall::vcpu_ctl, {given, 8}), Status::ok);
    for (const std::uint64_t op : {0, 1, 2, 3, 5, 6, 7})
        EXPECT_EQ(s.call(Syscall::vcpu_ctl, {given, op, 60, 1}), Status::no_right) << op;
}

}  // namespace
}  // namespace margay
