// An Event whose waiter moves from core to core loses nothing.
#include <random>

#include "ipc_fixture.hpp"

namespace margay {
namespace {

using Events = Ipc;

TEST_F(Events, ASignalFollowsAWaiterThatHasMoved) {
    s.make(ObjectType::event, 60, kib4);
    Event& e = s.object<Event>(60);
    Thread& one = thread(20, 10, first::core1);
    Thread& two = thread(30, 10, first::core2);
    ASSERT_EQ(System::leave(1), &one);
    ASSERT_EQ(System::leave(2), &two);
    System::trap(one, Syscall::wait, {60, 2'000'000});
    machine::now.hold_kicks = true;
    machine::switch_to(0);
    ASSERT_EQ(s.call(Syscall::signal, {60, 1}), Status::ok);
    EXPECT_EQ(e.posted_to, &machine::core(1));
    // Before core 1 looks into its mailbox, its thread waits no more, and one of core 2 takes the bits
    // and waits again.
    machine::switch_to(1);
    machine::now.tsc = 3'000'000;
    machine::fire_timer();
    EXPECT_EQ(status_of(one), Status::timed_out);
    EXPECT_EQ(System::trap(two, Syscall::wait, {60, no_deadline}), &two);
    EXPECT_EQ(two.gpr[gpr_rdi], 1u);
    System::trap(two, Syscall::wait, {60, no_deadline});
    ASSERT_EQ(two.state, ContextState::waiting);
    // The next signal finds it in core 1's mailbox, on its way to nobody.
    machine::switch_to(0);
    ASSERT_EQ(s.call(Syscall::signal, {60, 2}), Status::ok);
    machine::serve(1);
    machine::serve(2);
    EXPECT_EQ(two.state, ContextState::ready);
    EXPECT_EQ(two.gpr[gpr_rdi], 2u);
    machine::now.hold_kicks = false;
}

// Random waits, signals and time-outs on three cores, with kicks that come late. No bit is ever lost.
TEST_F(Events, NoSignalIsLostBetweenThreeCores) {
    for (unsigned seed = 0; seed < 200; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        s.~System();
        new (&s) System;
        std::mt19937 random{seed};
        s.make(ObjectType::event, 60, kib4);
        Event& e = s.object<Event>(60);
        Thread* threads[3];
        for (unsigned i = 0; i < 3; ++i) {
            threads[i] = &thread(20 + 10 * i, 10,
                                 i == 0   ? first::core0
                                 : i == 1 ? first::core1
                                          : first::core2);
            System::leave(i);
        }
        machine::now.hold_kicks = true;
        std::uint64_t sent = 0, received = 0;
        const auto collect = [&](Thread& t) {
            if (t.state != ContextState::ready || t.rip != 0x401002) return;
            if (status_of(t) == Status::ok) received |= t.gpr[gpr_rdi];
            t.rip = 0x401000;  // counted
            t.gpr[gpr_rdi] = 0;
        };
        for (unsigned n = 0; n < 60; ++n) {
            const unsigned i = random() % 3;
            Thread& t = *threads[i];
            for (Thread* each : threads) collect(*each);
            switch (random() % 4) {
            case 0:
                machine::switch_to(i);
                if (t.core->current == &t)
                    System::trap(t, Syscall::wait, {60, machine::now.tsc + random() % 3000});
                break;
            case 1:
                sent |= 1ull << n;
                machine::switch_to(i);
                e.signal(1ull << n);
                break;
            case 2: machine::serve(i); break;
            default:
                machine::now.tsc += 1000;
                machine::switch_to(i);
                machine::fire_timer();
                break;
            }
            for (unsigned k = 0; k < 3; ++k) System::leave(k);
        }
        // All kicks arrive: whoever waits has nothing to wait for.
        machine::now.hold_kicks = false;
        for (unsigned k = 0; k < 4; ++k) machine::serve_kicks();
        for (Thread* t : threads) {
            collect(*t);
            if (t->state == ContextState::waiting) {
                EXPECT_EQ(e.bits.load(), 0u) << "it sleeps beside latched bits";
            }
        }
        EXPECT_EQ(received | e.bits.load(), sent);
    }
}

}  // namespace
}  // namespace margay
