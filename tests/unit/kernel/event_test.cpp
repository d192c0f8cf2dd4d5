// Events: signals, waits, deadlines and interrupt lines.
#include "guest.hpp"
#include "ipc_fixture.hpp"

namespace margay {
namespace {

TEST_F(Ipc, SignalBeforeAndAfterWait) {
    s.make(ObjectType::event, 60, kib4);
    Thread& t = thread(20, 10);
    ASSERT_EQ(s.call(Syscall::signal, {60, 3}), Status::ok);
    ASSERT_EQ(System::leave(), &t);
    EXPECT_EQ(System::trap(t, Syscall::wait, {60, no_deadline}), &t);
    EXPECT_EQ(t.gpr[gpr_rdi], 3u);
    EXPECT_EQ(System::trap(t, Syscall::wait, {60, no_deadline}), nullptr);
    EXPECT_EQ(t.state, ContextState::waiting);
    ASSERT_EQ(s.call(Syscall::signal, {60, 4}), Status::ok);
    EXPECT_EQ(System::leave(), &t);
    EXPECT_EQ(status_of(t), Status::ok);
    EXPECT_EQ(t.gpr[gpr_rdi], 4u);
    EXPECT_EQ(s.call(Syscall::signal, {60, 0}), Status::bad_argument);
}

TEST_F(Ipc, OnlyOneWaits) {
    s.make(ObjectType::event, 60, kib4);
    Thread& a = thread(20, 10);
    System::leave();
    System::trap(a, Syscall::wait, {60, no_deadline});
    Thread& b = thread(30, 10);
    ASSERT_EQ(System::leave(), &b);
    EXPECT_EQ(System::trap(b, Syscall::wait, {60, no_deadline}), &b);
    EXPECT_EQ(status_of(b), Status::in_use);
}

TEST_F(Ipc, DeadlineExpires) {
    s.make(ObjectType::event, 60, kib4);
    Thread& t = thread(20, 10);
    ASSERT_EQ(System::leave(), &t);
    EXPECT_EQ(System::trap(t, Syscall::wait, {60, machine::now.tsc}), &t);
    EXPECT_EQ(status_of(t), Status::timed_out);
    const std::uint64_t at = machine::now.tsc + 1000;
    EXPECT_EQ(System::trap(t, Syscall::wait, {60, at}), nullptr);
    EXPECT_EQ(machine::now.timer[0], at);
    machine::now.tsc = at - 1;
    machine::fire_timer();
    EXPECT_EQ(System::leave(), nullptr);
    machine::now.tsc = at;
    machine::fire_timer();
    EXPECT_EQ(System::leave(), &t);
    EXPECT_EQ(status_of(t), Status::timed_out);
    EXPECT_EQ(t.gpr[gpr_rdi], 0u);
    EXPECT_EQ(machine::now.timer[0], no_deadline) << "a lone thread gets no interrupts";
    // In time: the deadline is gone.
    System::trap(t, Syscall::wait, {60, at + 1000});
    ASSERT_EQ(s.call(Syscall::signal, {60, 1}), Status::ok);
    EXPECT_EQ(System::leave(), &t);
    EXPECT_EQ(machine::now.timer[0], no_deadline);
}

TEST_F(Ipc, EventsAcrossCores) {
    s.make(ObjectType::event, 60, kib4);
    Thread& t = thread(20, 10, first::core1);
    ASSERT_EQ(System::leave(1), &t);
    EXPECT_EQ(System::trap(t, Syscall::wait, {60, no_deadline}), nullptr);
    machine::now.hold_kicks = true;
    ASSERT_EQ(s.call(Syscall::signal, {60, 1}), Status::ok);
    ASSERT_EQ(s.call(Syscall::signal, {60, 2}), Status::ok);
    EXPECT_EQ(t.state, ContextState::waiting) << "not before its core has looked";
    EXPECT_EQ(System::leave(1), &t);
    EXPECT_EQ(t.gpr[gpr_rdi], 3u);
}

TEST_F(Ipc, DestroyedEventReleasesItsWaiter) {
    s.make(ObjectType::event, 60, kib4);
    Thread& t = thread(20, 10);
    System::leave();
    System::trap(t, Syscall::wait, {60, no_deadline});
    ASSERT_EQ(s.call(Syscall::revoke, {61, 0}), Status::ok);
    EXPECT_EQ(System::leave(), &t);
    EXPECT_EQ(status_of(t), Status::bad_capability);
}

TEST_F(Ipc, InterruptLines) {
    s.make(ObjectType::event, 60, kib4);
    s.make(ObjectType::irq, 70, kib4, {first::irq_control, 17});
    ASSERT_EQ(s.call(Syscall::irq_ctl, {70, 0, 60, 8}), Status::ok);
    EXPECT_FALSE(machine::now.line_masked[17]);
    Irq::fire_line(17);
    EXPECT_TRUE(machine::now.line_masked[17]) << "a level stays until it is served";
    EXPECT_EQ(s.object<Event>(60).take(), 8u);
    ASSERT_EQ(s.call(Syscall::irq_ctl, {70, 2}), Status::ok);
    EXPECT_FALSE(machine::now.line_masked[17]);
    ASSERT_EQ(s.call(Syscall::revoke, {61, 0}), Status::ok);  // the event goes
    EXPECT_TRUE(machine::now.line_masked[17]);
    Irq::fire_line(17);
    ASSERT_EQ(s.call(Syscall::revoke, {71, 0}), Status::ok);
    s.make(ObjectType::irq, 80, kib4, {first::irq_control, 17});
}

}  // namespace
}  // namespace margay
