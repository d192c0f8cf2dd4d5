// IPC beside the fast path, exits and their replay.
#include "guest.hpp"
#include "ipc_fixture.hpp"

namespace margay {
namespace {

TEST_F(Ipc, CallAndReply) {
    Thread& h = server(20, 30);
    portal(22, 20);
    ASSERT_EQ(s.call(Syscall::copy, {22, pair(first::domain, 50), right::call, 77}), Status::ok);
    Thread& c = thread(30, 10);
    ASSERT_EQ(System::leave(), &c);
    EXPECT_EQ(System::trap(c, Syscall::call, {50, 1, 2, 3, 4, 5, 6, 7}), &h);
    const std::uint64_t request[] = {77, 1, 2, 3, 4, 5, 6, 7};
    const unsigned order[] = {gpr_rdi, gpr_rsi, gpr_rdx, gpr_r8, gpr_r9, gpr_r10, gpr_r12, gpr_r13};
    for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(h.gpr[order[i]], request[i]);
    EXPECT_EQ(machine::core(0).budget, &c.own) << "on the caller's budget";
    EXPECT_EQ(System::trap(h, Syscall::reply_wait, {0, 11, 12, 13, 14, 15, 16, 17}), &c);
    EXPECT_EQ(status_of(c), Status::ok);
    for (unsigned i = 1; i < 8; ++i) EXPECT_EQ(c.gpr[order[i]], 10 + i);
    EXPECT_EQ(h.state, ContextState::accepting);
}

TEST_F(Ipc, EachBadCallIsRefused) {
    portal(22, no_slot);
    Thread& c = thread(30, 10);
    ASSERT_EQ(System::leave(), &c);
    ASSERT_EQ(s.call(Syscall::copy, {22, pair(first::domain, 50), right::bind}), Status::ok);
    s.make(ObjectType::portal, 60, kib4, {no_slot, first::core1});
    System::leave();
    const auto call = [&](std::uint64_t slot) {
        System::trap(c, Syscall::call, {slot});
        return status_of(c);
    };
    EXPECT_EQ(call(99), Status::bad_capability);
    // A slot number has 32 bits, on the fast path as here.
    EXPECT_EQ(call(1ull << 40 | 99), Status::bad_capability);
    EXPECT_EQ(call(1ull << 40 | first::domain), Status::wrong_type);
    EXPECT_EQ(call(first::domain), Status::wrong_type);
    EXPECT_EQ(call(50), Status::no_right);
    EXPECT_EQ(call(60), Status::wrong_core);
    System::trap(c, static_cast<Syscall>(99), {});
    EXPECT_EQ(status_of(c), Status::bad_syscall);
}

TEST_F(Ipc, CallersOfAnUnboundPortalWaitByPriority) {
    portal(22, no_slot);
    Thread* callers[4];
    const unsigned priority[] = {10, 20, 10, 30};
    for (unsigned i = 0; i < 4; ++i) {
        callers[i] = &thread(30 + 2 * i, priority[i]);
        ASSERT_EQ(System::leave(), callers[i]);
        System::trap(*callers[i], Syscall::call, {22, i});
        EXPECT_EQ(callers[i]->state, ContextState::queued);
    }
    Thread& h = server(50, 40);
    ASSERT_EQ(s.call(Syscall::portal_ctl, {22, 0, 50}), Status::ok);
    const unsigned order[] = {3, 1, 0, 2};
    for (unsigned n = 0; n < 4; ++n) {
        while (System::leave() != &h) {  // earlier callers, answered: they sleep
            auto& t = static_cast<Thread&>(*machine::core(0).current);
            t.die();
        }
        EXPECT_EQ(h.gpr[gpr_rsi], order[n]) << "turn " << n;
        EXPECT_EQ(h.caller, callers[order[n]]);
        System::trap(h, Syscall::reply_wait, {0, 100 + n});
        EXPECT_EQ(callers[order[n]]->gpr[gpr_rsi], 100 + n);
    }
}

TEST_F(Ipc, HandlerDeathTellsItsCaller) {
    Thread& h = server(20, 30);
    portal(22, 20);
    Thread& c = thread(30, 10);
    ASSERT_EQ(System::leave(), &c);
    ASSERT_EQ(System::trap(c, Syscall::call, {22}), &h);
    s.make(ObjectType::event, 60, kib4);
    ASSERT_EQ(s.call(Syscall::thread_ctl, {20, 2, 60, 0x10}), Status::ok);
    ASSERT_EQ(System::leave(), &h);
    kill(h);
    EXPECT_EQ(System::leave(), &c);
    EXPECT_EQ(status_of(c), Status::dead_partner);
    EXPECT_EQ(machine::core(0).budget, &c.own);
    EXPECT_EQ(s.object<Event>(60).bits.load(), 0x10u);
    EXPECT_EQ(s.object<Portal>(22).handler, nullptr);
    // Who calls now waits for a new handler.
    System::trap(c, Syscall::call, {22, 5});
    EXPECT_EQ(c.state, ContextState::queued);
    Thread& other = server(40, 30);
    ASSERT_EQ(s.call(Syscall::portal_ctl, {22, 0, 40}), Status::ok);
    EXPECT_EQ(System::leave(), &other);
    EXPECT_EQ(other.gpr[gpr_rsi], 5u);
    EXPECT_EQ(s.call(Syscall::portal_ctl, {22, 0, 20}), Status::dead_partner);
}

TEST_F(Ipc, DestroyedCallerLeavesItsHandlerOnABudgetOfItsOwn) {
    Thread& h = server(20, 30);
    portal(22, 20);
    Thread& c = thread(30, 10);
    ASSERT_EQ(System::leave(), &c);
    ASSERT_EQ(System::trap(c, Syscall::call, {22}), &h);
    ASSERT_EQ(s.call(Syscall::revoke, {31, 0}), Status::ok);
    EXPECT_EQ(c.state, ContextState::dead);
    EXPECT_EQ(h.caller, nullptr);
    EXPECT_EQ(System::leave(), &h);
    EXPECT_EQ(machine::core(0).budget, &h.own);
    // Its reply reaches nobody, and it goes on serving.
    EXPECT_EQ(System::trap(h, Syscall::reply_wait, {}), nullptr);
    EXPECT_EQ(h.state, ContextState::accepting);
}

TEST_F(Ipc, DeathInTheMiddleOfAChainReturnsTheBudget) {
    Thread& b = server(20, 30);
    portal(22, 20);
    Thread& a = server(40, 31);
    portal(42, 40);
    Thread& c = thread(50, 10);
    ASSERT_EQ(System::leave(), &c);
    ASSERT_EQ(System::trap(c, Syscall::call, {42}), &a);
    ASSERT_EQ(System::trap(a, Syscall::call, {22}), &b);
    EXPECT_EQ(machine::core(0).budget, &c.own);
    kill(a);
    EXPECT_EQ(b.caller, nullptr);
    EXPECT_EQ(status_of(c), Status::dead_partner);
    // b goes on by itself, at its own priority; c has its budget back.
    EXPECT_EQ(System::leave(), &b);
    EXPECT_EQ(machine::core(0).budget, &b.own);
    System::trap(b, Syscall::reply_wait, {});
    EXPECT_EQ(System::leave(), &c);
    EXPECT_EQ(machine::core(0).budget, &c.own);
}

TEST_F(Ipc, DestroyedPortalReleasesItsCallers) {
    portal(22, no_slot);
    Thread& c = thread(30, 10);
    ASSERT_EQ(System::leave(), &c);
    System::trap(c, Syscall::call, {22});
    ASSERT_EQ(s.call(Syscall::revoke, {23, 0}), Status::ok);
    EXPECT_EQ(System::leave(), &c);
    EXPECT_EQ(status_of(c), Status::bad_capability);
}

TEST_F(Ipc, CapabilityTravelsWithAMessage) {
    Thread& h = server(20, 30);
    portal(22, 20);
    h.receive_slot = 80;
    s.make(ObjectType::event, 60, kib4);
    Thread& c = thread(30, 10);
    ASSERT_EQ(System::leave(), &c);
    ASSERT_EQ(System::trap(c, Syscall::call,
                           {22, label_transfer | 9, 0, 0, 0, 0, 0, pair(60, right::signal)}),
              &h);
    EXPECT_EQ(h.gpr[gpr_r13], 1u);
    EXPECT_EQ(s.domain->slots[80].type, ObjectType::event);
    EXPECT_EQ(s.domain->slots[80].rights, right::signal);
    EXPECT_EQ(s.domain->slots[80].parent, &s.domain->slots[60]);
    // The slot is full now: it cannot come, and the message says so.
    System::trap(h, Syscall::reply_wait, {});
    ASSERT_EQ(System::trap(c, Syscall::call,
                           {22, label_transfer, 0, 0, 0, 0, 0, pair(60, right::signal)}),
              &h);
    EXPECT_EQ(h.gpr[gpr_r13], 0u);
}

TEST_F(Ipc, ExitMessageAndReplies) {
    Thread& h = server(20, 30);
    portal(22, 20);
    Vcpu& v = vcpu(30, 22);
    ASSERT_NO_FATAL_FAILURE(start(v, 33, h));
    machine::set_rip(v, 0x1000);
    v.guest.set_rax(0xabcd);
    ASSERT_EQ(System::exit_guest(v, ExitClass::halt), &h);
    EXPECT_EQ(h.gpr[gpr_rsi] & 0xff, static_cast<std::uint64_t>(ExitClass::halt));
    EXPECT_EQ(h.gpr[gpr_rdx], v.sequence);
    EXPECT_EQ(h.gpr[gpr_r8], 0x1000u);
    EXPECT_EQ(h.gpr[gpr_r12], 0xabcdu);
    EXPECT_EQ(v.page->records[v.sequence % exit_records].sequence_class,
              v.sequence << 8 | static_cast<std::uint64_t>(ExitClass::halt));
    EXPECT_EQ(reply(h, Action::advance, v.sequence), &v);
    EXPECT_EQ(v.guest.rip(), 0x1001u);
    // Refused replies leave the exit pending.
    ASSERT_EQ(System::exit_guest(v, ExitClass::mmio), &h);
    const std::uint64_t sequence = v.sequence;
    EXPECT_EQ(reply(h, Action::resume, sequence - 1), &h);
    EXPECT_EQ(status_of(h), Status::stale);
    EXPECT_EQ(reply(h, Action::advance, sequence), &h);
    EXPECT_EQ(status_of(h), Status::bad_argument) << "nobody knows how long the instruction is";
    EXPECT_EQ(reply(h, static_cast<Action>(9), sequence), &h);
    EXPECT_EQ(status_of(h), Status::bad_argument);
    EXPECT_EQ(reply(h, Action::resume, sequence, state::valid_reply + 1), &h);
    EXPECT_EQ(status_of(h), Status::bad_argument);
    v.page->event = event_injection::valid;  // an external interrupt
    EXPECT_EQ(reply(h, Action::resume, sequence, state::event), &h);
    EXPECT_EQ(status_of(h), Status::bad_argument);
    EXPECT_EQ(v.guest.rip(), 0x1001u);
    EXPECT_EQ(reply(h, Action::resume, sequence), &v);
    EXPECT_EQ(v.sequence, sequence);
}

TEST_F(Ipc, PendingExitIsReplayedToTheNextHandler) {
    Thread& h = server(20, 30);
    portal(22, 20);
    Vcpu& v = vcpu(30, 22);
    ASSERT_NO_FATAL_FAILURE(start(v, 33, h));
    machine::set_rip(v, 0x2000);
    ASSERT_EQ(System::exit_guest(v, ExitClass::port, 0x3f8 | 1 << port_access::width_shift, 0x2002),
              &h);
    const std::uint64_t sequence = v.sequence, detail = h.gpr[gpr_r9];
    kill(h);
    EXPECT_EQ(System::leave(), nullptr);
    EXPECT_EQ(v.state, ContextState::queued) << "it waits on its portal";
    for (unsigned n = 0; n < 2; ++n) {
        Thread& next = server(50 + 4 * n, 30);
        ASSERT_EQ(s.call(Syscall::portal_ctl, {22, 0, 50 + 4 * n}), Status::ok);
        ASSERT_EQ(System::leave(), &next);
        EXPECT_EQ(next.gpr[gpr_rsi] & 0xff, static_cast<std::uint64_t>(ExitClass::port));
        EXPECT_EQ(next.gpr[gpr_rsi] >> 8, exit_flag::replayed);
        EXPECT_EQ(next.gpr[gpr_rdx], sequence);
        EXPECT_EQ(next.gpr[gpr_r8], 0x2000u);
        EXPECT_EQ(next.gpr[gpr_r9], detail);
        if (n == 0) {
            kill(next);
        } else {
            EXPECT_EQ(reply(next, Action::advance, sequence), &v);
            EXPECT_EQ(v.guest.rip(), 0x2002u);
        }
    }
    EXPECT_TRUE(machine::now.guest_failures.empty());
}

TEST_F(Ipc, RunningGuestDoesNotNoticeItsHandlersDeath) {
    Thread& h = server(20, 30);
    portal(22, 20);
    Vcpu& v = vcpu(30, 22);
    ASSERT_NO_FATAL_FAILURE(start(v, 33, h));
    kill(h);
    EXPECT_EQ(System::leave(), &v);
    EXPECT_EQ(System::exit_guest(v, ExitClass::cpuid), nullptr);
    Thread& next = server(50, 30);
    ASSERT_EQ(s.call(Syscall::portal_ctl, {22, 0, 50}), Status::ok);
    ASSERT_EQ(System::leave(), &next);
    EXPECT_EQ(next.gpr[gpr_rsi] & ~(exit_flag::length_assumed << 8),
              static_cast<std::uint64_t>(ExitClass::cpuid))
        << "nobody has seen it yet";
    kill(next);
    Thread& third = server(60, 30);
    ASSERT_EQ(s.call(Syscall::portal_ctl, {22, 0, 60}), Status::ok);
    ASSERT_EQ(System::leave(), &third);
    EXPECT_EQ(third.gpr[gpr_rsi] & ~(exit_flag::length_assumed << 8),
              static_cast<std::uint64_t>(ExitClass::cpuid) | exit_flag::replayed << 8);
}

TEST_F(Ipc, RowsReboundOneByOneKeepThePendingExit) {
    Thread& h = server(20, 30);
    portal(22, 20);
    Vcpu& v = vcpu(30, 22);
    ASSERT_NO_FATAL_FAILURE(start(v, 33, h));
    kill(h);
    System::leave();
    System::exit_guest(v, ExitClass::cpuid);
    ASSERT_EQ(v.state, ContextState::queued);
    ASSERT_EQ(s.call(Syscall::revoke, {23, 0}), Status::ok);  // the portal goes
    ASSERT_EQ(v.state, ContextState::stopped);
    Thread& next = server(50, 30);
    portal(60, 50);
    for (unsigned c = 0; c < exit_classes; ++c)
        ASSERT_EQ(s.call(Syscall::vcpu_ctl, {33, 0, c, 60, 0}), Status::ok);
    EXPECT_TRUE(machine::now.guest_failures.empty());
    EXPECT_EQ(System::leave(), &next);
    EXPECT_EQ(next.gpr[gpr_rsi] & 0xff, static_cast<std::uint64_t>(ExitClass::cpuid));
}

TEST_F(Ipc, APolicyForwardsToTheBaseOfTheSameClass) {
    Thread& h = server(20, 30);
    portal(22, 20);
    Thread& p = server(40, 30);
    portal(42, 40);
    Vcpu& v = vcpu(50, 22);
    const auto halt = static_cast<unsigned>(ExitClass::halt);
    ASSERT_EQ(s.call(Syscall::vcpu_ctl, {53, 9, halt, 42, 0}), Status::ok);
    ASSERT_NO_FATAL_FAILURE(start(v, 53, h));
    ASSERT_EQ(System::exit_guest(v, ExitClass::cpuid), &h) << "no policy for this class";
    ASSERT_EQ(reply(h, Action::resume, v.sequence), &v);
    ASSERT_EQ(System::exit_guest(v, ExitClass::halt), &p);
    EXPECT_EQ(v.delivery & delivery::forwarded, 0u);
    EXPECT_EQ(reply(p, Action::forward, v.sequence), &h);
    EXPECT_NE(v.delivery & delivery::forwarded, 0u);
    EXPECT_EQ(h.gpr[gpr_rsi] & 0xff, halt);
    EXPECT_EQ(h.gpr[gpr_rsi] >> 8 & exit_flag::replayed, 0u)
        << "the base sees it for the first time";
    // A policy may answer by itself.
    ASSERT_EQ(reply(h, Action::advance, v.sequence), &v);
    ASSERT_EQ(System::exit_guest(v, ExitClass::halt), &p);
    ASSERT_EQ(reply(p, Action::advance, v.sequence), &v);
    // Taken away, the base has the class for itself.
    ASSERT_EQ(s.call(Syscall::vcpu_ctl, {53, 9, halt, no_slot, 0}), Status::ok);
    ASSERT_EQ(System::leave(), &v);
    ASSERT_EQ(System::exit_guest(v, ExitClass::halt), &h);
    EXPECT_EQ(reply(h, Action::forward, v.sequence), nullptr) << "there is nobody behind the base";
    EXPECT_EQ(v.state, ContextState::dead);
    EXPECT_EQ(machine::now.guest_failures.size(), 1u);
}

TEST_F(Ipc, APolicyThatIsUnboundMayStillForwardTheExitThatItHas) {
    Thread& h = server(20, 30);
    portal(22, 20);
    Thread& p = server(40, 30);
    portal(42, 40);
    Vcpu& v = vcpu(50, 22);
    const auto halt = static_cast<unsigned>(ExitClass::halt);
    ASSERT_EQ(s.call(Syscall::vcpu_ctl, {53, 9, halt, 42, 0}), Status::ok);
    ASSERT_NO_FATAL_FAILURE(start(v, 53, h));
    ASSERT_EQ(System::exit_guest(v, ExitClass::halt), &p);
    ASSERT_EQ(s.call(Syscall::vcpu_ctl, {53, 9, halt, no_slot, 0}), Status::ok);
    ASSERT_EQ(System::leave(), &p);
    EXPECT_EQ(reply(p, Action::forward, v.sequence), &h);
    EXPECT_TRUE(machine::now.guest_failures.empty());
    // Only that one, and only once.
    EXPECT_EQ(reply(h, Action::forward, v.sequence), nullptr);
    EXPECT_EQ(v.state, ContextState::dead);
}

TEST_F(Ipc, WhatTheBaseHasIsNoneOfAPolicyThatComes) {
    Thread& h = server(20, 30);
    portal(22, 20);
    server(40, 30);
    portal(42, 40);
    Vcpu& v = vcpu(50, 22);
    const auto halt = static_cast<unsigned>(ExitClass::halt);
    ASSERT_NO_FATAL_FAILURE(start(v, 53, h));
    ASSERT_EQ(System::exit_guest(v, ExitClass::halt), &h);
    EXPECT_EQ(v.delivery & delivery::forwarded, 0u);
    ASSERT_EQ(s.call(Syscall::vcpu_ctl, {53, 9, halt, 42, 0}), Status::ok);
    EXPECT_NE(v.delivery & delivery::forwarded, 0u);
    ASSERT_EQ(s.call(Syscall::vcpu_ctl, {53, 9, halt, no_slot, 0}), Status::ok);
    EXPECT_EQ(v.delivery & delivery::left, 0u) << "it was never the policy's";
    ASSERT_EQ(System::leave(), &h);
    ASSERT_EQ(reply(h, Action::advance, v.sequence), &v);
    EXPECT_EQ(v.delivery, 0u);
}

TEST_F(Ipc, AnExitInTheHandsOfAPolicyThatDiesGoesToTheBase) {
    Thread& h = server(20, 30);
    portal(22, 20);
    Thread& p = server(40, 30);
    portal(42, 40);
    Vcpu& v = vcpu(50, 22);
    const auto halt = static_cast<unsigned>(ExitClass::halt);
    ASSERT_EQ(s.call(Syscall::vcpu_ctl, {53, 9, halt, 42, 0}), Status::ok);
    ASSERT_NO_FATAL_FAILURE(start(v, 53, h));
    ASSERT_EQ(System::exit_guest(v, ExitClass::halt), &p);
    kill(p);
    ASSERT_EQ(System::leave(), &h);
    EXPECT_EQ(h.gpr[gpr_rsi] & 0xff, halt);
    ASSERT_EQ(reply(h, Action::advance, v.sequence), &v);
    ASSERT_EQ(System::exit_guest(v, ExitClass::halt), &h) << "a policy without a handler is none";
    ASSERT_EQ(reply(h, Action::advance, v.sequence), &v);
    // Another one takes over; it is busy when the next exit comes, and then it dies.
    Thread& q = server(60, 30);
    ASSERT_EQ(s.call(Syscall::portal_ctl, {42, 0, 60}), Status::ok);
    ASSERT_EQ(System::leave(), &v);
    Thread& c = thread(70, 20);
    ASSERT_EQ(System::leave(), &c);
    ASSERT_EQ(System::trap(c, Syscall::call, {42}), &q);
    s.make(ObjectType::event, 80, kib4);
    ASSERT_EQ(System::leave(), &q);
    System::trap(q, Syscall::wait, {80, no_deadline});
    ASSERT_EQ(System::leave(), &v);
    EXPECT_EQ(System::exit_guest(v, ExitClass::halt), nullptr);
    EXPECT_EQ(v.state, ContextState::queued);
    machine::switch_to(0);
    kill(q);
    EXPECT_EQ(v.callee, &h);
    EXPECT_TRUE(machine::now.guest_failures.empty());
}

TEST_F(Ipc, ExitWithoutAHandlerStopsOnlyThatGuest) {
    Thread& h = server(20, 30);
    portal(22, 20);
    Vcpu& v = vcpu(30, 22);
    s.make(ObjectType::event, 60, kib4);
    ASSERT_EQ(s.call(Syscall::vcpu_ctl, {33, 7, 60, 4}), Status::ok);
    ASSERT_NO_FATAL_FAILURE(start(v, 33, h));
    for (unsigned c = 0; c < exit_classes; ++c)
        ASSERT_EQ(s.call(Syscall::vcpu_ctl, {33, 0, c, no_slot, 0}), Status::ok);
    ASSERT_EQ(System::leave(), &v);
    EXPECT_EQ(System::exit_guest(v, ExitClass::halt), nullptr);
    EXPECT_EQ(v.state, ContextState::dead);
    EXPECT_EQ(machine::now.guest_failures.size(), 1u);
    EXPECT_EQ(s.object<Event>(60).bits.load(), 4u);
}

TEST_F(Ipc, ParkedVcpuWakesByEventAndKeepsItsDeadline) {
    Thread& h = server(20, 30);
    portal(22, 20);
    Vcpu& v = vcpu(30, 22);
    s.make(ObjectType::event, 60, kib4);
    ASSERT_EQ(s.call(Syscall::vcpu_ctl, {33, 1, 60}), Status::ok);
    EXPECT_EQ(s.call(Syscall::vcpu_ctl, {33, 1, 60}), Status::in_use);
    ASSERT_NO_FATAL_FAILURE(start(v, 33, h));
    ASSERT_EQ(System::exit_guest(v, ExitClass::halt), &h);
    const std::uint64_t at = machine::now.tsc + 5000;
    EXPECT_EQ(reply(h, Action::park_advance, v.sequence, state::deadline_word, at), nullptr);
    EXPECT_EQ(v.state, ContextState::parked);
    EXPECT_EQ(machine::now.timer[0], at);
    ASSERT_EQ(s.call(Syscall::signal, {60, 0x22}), Status::ok);
    ASSERT_EQ(System::leave(), &h);
    EXPECT_EQ(h.gpr[gpr_rsi], static_cast<std::uint64_t>(ExitClass::recall));
    EXPECT_EQ(h.gpr[gpr_r9], 0x22u);
    // The handler says nothing about the deadline: it stands.
    EXPECT_EQ(reply(h, Action::park, v.sequence), nullptr);
    EXPECT_EQ(v.state, ContextState::parked);
    machine::now.tsc = at;
    machine::fire_timer();
    ASSERT_EQ(System::leave(), &h);
    EXPECT_EQ(h.gpr[gpr_rsi], static_cast<std::uint64_t>(ExitClass::deadline));
    EXPECT_EQ(h.gpr[gpr_r9], at);
    EXPECT_EQ(reply(h, Action::resume, v.sequence), &v);
}

TEST_F(Ipc, RecallAndSuspend) {
    Thread& h = server(20, 30);
    portal(22, 20);
    Vcpu& v = vcpu(30, 22);
    ASSERT_NO_FATAL_FAILURE(start(v, 33, h));
    ASSERT_EQ(s.call(Syscall::vcpu_ctl, {33, 3}), Status::ok);
    ASSERT_EQ(System::leave(), &h);
    EXPECT_EQ(h.gpr[gpr_rsi], static_cast<std::uint64_t>(ExitClass::recall));
    EXPECT_EQ(reply(h, Action::resume, v.sequence), &v);
    ASSERT_EQ(s.call(Syscall::vcpu_ctl, {33, 5}), Status::ok);
    ASSERT_EQ(System::leave(), &h) << "its handler learns what the guest has taken";
    EXPECT_EQ(h.gpr[gpr_rsi], static_cast<std::uint64_t>(ExitClass::recall));
    EXPECT_EQ(reply(h, Action::resume, v.sequence), nullptr);
    EXPECT_EQ(v.state, ContextState::stopped);
    EXPECT_EQ(s.call(Syscall::vcpu_ctl, {33, 4, 1}), Status::ok) << "it can be looked at";
    ASSERT_EQ(s.call(Syscall::vcpu_ctl, {33, 6}), Status::ok);
    EXPECT_EQ(System::leave(), &v);
    EXPECT_EQ(s.call(Syscall::vcpu_ctl, {33, 4, 1}), Status::in_use) << "no exit is pending";
}

TEST_F(Ipc, SuspendedWhileItSleeps) {
    Thread& h = server(20, 30);
    portal(22, 20);
    Vcpu& v = vcpu(30, 22);
    ASSERT_NO_FATAL_FAILURE(start(v, 33, h));
    ASSERT_EQ(System::exit_guest(v, ExitClass::halt), &h);
    EXPECT_EQ(reply(h, Action::park, v.sequence), nullptr);
    EXPECT_EQ(v.state, ContextState::parked);
    ASSERT_EQ(s.call(Syscall::vcpu_ctl, {33, 5}), Status::ok);
    ASSERT_EQ(System::leave(), &h);
    EXPECT_EQ(reply(h, Action::park, v.sequence), nullptr);
    EXPECT_EQ(v.state, ContextState::stopped);
    ASSERT_EQ(s.call(Syscall::vcpu_ctl, {33, 6}), Status::ok);
    EXPECT_EQ(System::leave(), nullptr);
    EXPECT_EQ(v.state, ContextState::parked) << "it sleeps on";
}

TEST_F(Ipc, QueryAndKill) {
    Thread& h = server(20, 30);
    portal(22, 20);
    Vcpu& v = vcpu(30, 22);
    ASSERT_NO_FATAL_FAILURE(start(v, 33, h));
    ASSERT_EQ(System::exit_guest(v, ExitClass::halt), &h);
    const std::uint64_t sequence = v.sequence;
    Thread& caller = thread(40, 50);
    ASSERT_EQ(System::leave(), &caller);
    const auto flags = [&] {
        EXPECT_EQ(System::trap(caller, Syscall::vcpu_ctl, {33, 8}), &caller);
        EXPECT_EQ(caller.gpr[gpr_rdi], sequence);
        EXPECT_EQ(caller.gpr[gpr_rsi] >> vcpu_flag::class_shift,
                  static_cast<std::uint64_t>(ExitClass::halt));
        return caller.gpr[gpr_rsi] & 0xff;
    };
    EXPECT_EQ(flags(), vcpu_flag::pending | vcpu_flag::in_service);
    EXPECT_EQ(System::trap(caller, Syscall::thread_ctl, {20, 6}), &caller);
    EXPECT_EQ(h.state, ContextState::dead);
    EXPECT_EQ(flags(), vcpu_flag::pending) << "the exit waits for the next handler";
}

TEST_F(Ipc, DestroyedVcpuLeavesItsHandler) {
    Thread& h = server(20, 30);
    portal(22, 20);
    Vcpu& v = vcpu(30, 22);
    ASSERT_NO_FATAL_FAILURE(start(v, 33, h));
    ASSERT_EQ(System::exit_guest(v, ExitClass::halt), &h);
    const std::uint64_t sequence = v.sequence;
    ASSERT_EQ(s.call(Syscall::revoke, {34, 0}), Status::ok);
    ASSERT_EQ(System::leave(), &h);
    EXPECT_EQ(h.caller, nullptr);
    EXPECT_EQ(machine::core(0).budget, &h.own);
    EXPECT_EQ(reply(h, Action::resume, sequence), nullptr);
    EXPECT_EQ(h.state, ContextState::accepting);
}

}  // namespace
}  // namespace margay
