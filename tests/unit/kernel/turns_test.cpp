// Turns: who has a core, for how long, and how long the others wait for it.
#include "guest.hpp"
#include "ipc_fixture.hpp"

namespace margay {
namespace {

TEST_F(Ipc, RoundRobinOnlyAmongEqualPriorities) {
    Thread& a = thread(20, 10);
    ASSERT_EQ(System::leave(), &a);
    EXPECT_EQ(machine::now.timer[0], no_deadline) << "it is alone";
    Thread& b = thread(30, 10);
    ASSERT_EQ(System::leave(), &a);
    EXPECT_NE(machine::now.timer[0], no_deadline);
    machine::now.tsc = machine::now.timer[0];
    machine::fire_timer();
    ASSERT_EQ(System::leave(), &b);
    EXPECT_EQ(System::trap(b, Syscall::thread_ctl, {no_slot, 5}), &a) << "yield";
    Thread& high = thread(40, 20);
    EXPECT_EQ(System::leave(), &high);
    kill(high);
    EXPECT_EQ(System::leave(), &a) << "it was interrupted, not finished";
}

// However often somebody of a higher priority comes in between, each of the others has its turn.
TEST_F(Ipc, InterruptionsDoNotBeginATurnAnew) {
    Thread& a = thread(20, 10);
    ASSERT_EQ(System::leave(), &a);
    Thread& b = thread(30, 10);
    ASSERT_EQ(System::leave(), &a);
    const std::uint64_t end = machine::now.timer[0];
    ASSERT_NE(end, no_deadline);
    for (unsigned i = 0; i < 8; ++i) {
        machine::now.tsc += (end - machine::now.tsc) / 2;
        Thread& high = thread(40 + 2 * i, 20);
        ASSERT_EQ(System::leave(), &high);
        kill(high);
        ASSERT_EQ(System::leave(), &a);
        ASSERT_EQ(machine::now.timer[0], end) << i;
    }
    machine::now.tsc = end;
    machine::fire_timer();
    ASSERT_EQ(System::leave(), &b);
    EXPECT_GT(machine::now.timer[0], end) << "its own turn is a whole one";
}

// What a guest is told as stolen: ready and without the core, in the guest or at its handler. Neither running nor sleep.
TEST_F(Ipc, AVcpuCountsHowLongItWaitsForItsCore) {
    Thread& handler = server(20, 30);
    portal(22, 20);
    Vcpu& v = vcpu(24, 22);
    start(v, 27, handler);
    const auto waited = [&] {
        EXPECT_EQ(s.call(Syscall::vcpu_ctl, {27, 8}), Status::ok);
        return s.boot->gpr[gpr_rdx];
    };
    const auto pass = [](std::uint64_t ticks) { machine::now.tsc += ticks; };
    const std::uint64_t before = v.own.waited();
    pass(1000);
    EXPECT_EQ(v.own.waited(), before) << "it runs";
    Thread& high = thread(40, 20);
    ASSERT_EQ(System::leave(), &high);
    pass(700);
    EXPECT_NEAR(static_cast<double>(v.own.waited() - before), 700, 2) << "a glance meanwhile";
    EXPECT_EQ(waited(), v.own.waited());
    kill(high);
    ASSERT_EQ(System::leave(), &v);
    pass(5000);
    EXPECT_NEAR(static_cast<double>(v.own.waited() - before), 700, 2);
    // At its handler, which has the higher priority of the two, but runs on the vCPU's budget.
    ASSERT_EQ(System::exit_guest(v, ExitClass::halt), &handler);
    pass(100);
    Thread& higher = thread(44, 20);
    ASSERT_EQ(System::leave(), &higher);
    pass(300);
    kill(higher);
    ASSERT_EQ(System::leave(), &handler);
    EXPECT_NEAR(static_cast<double>(v.own.waited() - before), 1000, 4);
    // Asleep it waits for nothing.
    EXPECT_NE(reply(handler, Action::park_advance, v.sequence), &v);
    pass(9000);
    EXPECT_NEAR(static_cast<double>(v.own.waited() - before), 1000, 4);
    // Awake again, behind others.
    Thread& highest = thread(48, 20);
    ASSERT_EQ(System::leave(), &highest);
    ASSERT_EQ(s.call(Syscall::vcpu_ctl, {27, 3}), Status::ok);
    pass(50);
    EXPECT_NEAR(static_cast<double>(v.own.waited() - before), 1050, 6);
    kill(highest);
    ASSERT_EQ(System::leave(), &handler);
    EXPECT_EQ(handler.gpr[gpr_rsi], static_cast<std::uint64_t>(ExitClass::recall));
    EXPECT_NEAR(static_cast<double>(v.own.waited() - before), 1050, 6);
}

}  // namespace
}  // namespace margay
