// Exits and their time as the kernel counts them, and what reads that from another core.
#include <initializer_list>

#include "one_guest.hpp"

extern "C" [[noreturn]] void guest_exited(margay::Vcpu* vcpu);

namespace margay {
namespace {

constexpr std::uint64_t count_op = static_cast<std::uint64_t>(VcpuOp::count_exits);

class ExitCountersTest : public OneGuest {
  protected:
    struct Count {
        std::uint64_t exits, ticks;
        bool operator==(const Count&) const = default;
    };
    static Count nothing() { return {0, 0}; }
    // Whoever ran before runs on.
    Status ask(std::uint64_t first, Slot vcpu = 33) {
        const Status status = s.call(Syscall::vcpu_ctl, {vcpu, count_op, first});
        System::leave();
        return status;
    }
    Count count(ExitClass c) {
        EXPECT_EQ(ask(static_cast<std::uint64_t>(c)), Status::ok);
        return {s.boot->gpr[gpr_rdi], s.boot->gpr[gpr_rsi]};
    }
    static void pass(std::uint64_t ticks) { machine::now.tsc += ticks; }
    void exit_and_reply(ExitClass c, std::uint64_t ticks, Action a = Action::advance,
                        std::uint64_t dirty = 0) {
        ASSERT_EQ(System::exit_guest(*v, c, 1 << port_access::width_shift, 0x1002), h);
        pass(ticks);
        ASSERT_EQ(reply(a, dirty), v);
    }
    void expect_all_counted() {
        std::uint64_t sum = 0;
        for (unsigned c = 0; c < exit_classes; ++c) sum += count(static_cast<ExitClass>(c)).exits;
        EXPECT_EQ(sum, v->sequence);
    }
};

TEST_F(ExitCountersTest, ByClassWithTheirTime) {
    EXPECT_EQ(count(ExitClass::startup).exits, 1u);
    EXPECT_EQ(count(ExitClass::cpuid), nothing());
    for (unsigned n = 1; n <= 100; ++n) {
        ASSERT_NO_FATAL_FAILURE(exit_and_reply(ExitClass::cpuid, 500));
        pass(777);  // in the guest
        EXPECT_EQ(count(ExitClass::cpuid), (Count{n, n * 500ull}));
    }
    // A reply that needs more than the fast path.
    ASSERT_NO_FATAL_FAILURE(
        exit_and_reply(ExitClass::port, 3'000'000'000'000, Action::resume, state::rip));
    EXPECT_EQ(count(ExitClass::port), (Count{1, 3'000'000'000'000}));
    ASSERT_NO_FATAL_FAILURE(exit_and_reply(ExitClass::mmio, 0, Action::resume));
    EXPECT_EQ(count(ExitClass::mmio), (Count{1, 0}));
    expect_all_counted();
}

TEST_F(ExitCountersTest, FourClassesAtOnceAndNoneBehindTheLast) {
    ASSERT_NO_FATAL_FAILURE(exit_and_reply(ExitClass::cpuid, 30));
    ASSERT_NO_FATAL_FAILURE(exit_and_reply(ExitClass::port, 50));
    ASSERT_NO_FATAL_FAILURE(exit_and_reply(ExitClass::mmio, 60, Action::resume));
    ASSERT_EQ(ask(static_cast<std::uint64_t>(ExitClass::cpuid)), Status::ok);
    const std::uint64_t expected[] = {1, 30, 0, 0, 1, 50, 1, 60};
    const unsigned order[] = {gpr_rdi, gpr_rsi, gpr_rdx, gpr_r8, gpr_r9, gpr_r10, gpr_r12, gpr_r13};
    for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(s.boot->gpr[order[i]], expected[i]) << i;
    v->counters.exits[exit_classes - 1] = 9;
    ASSERT_EQ(ask(exit_classes - 1), Status::ok);
    EXPECT_EQ(s.boot->gpr[gpr_rdi], 9u);
    for (unsigned i = 1; i < 8; ++i) EXPECT_EQ(s.boot->gpr[order[i]], 0u) << i;
}

TEST_F(ExitCountersTest, WhoAsksForNothingOrMayNotLookIsRefused) {
    using Numbers = std::initializer_list<std::uint64_t>;
    for (const std::uint64_t first :
         Numbers{exit_classes, 255, first_kernel_exit + 1, 1ull << 32, ~0ull})
        EXPECT_EQ(ask(first), Status::bad_argument) << first;
    ASSERT_EQ(s.call(Syscall::copy, {33, pair(first::domain, 50), right::control}), Status::ok);
    EXPECT_EQ(ask(0, 50), Status::no_right);
    EXPECT_EQ(ask(0, 99), Status::bad_capability);
    EXPECT_EQ(ask(0, first::domain), Status::wrong_type);
}

TEST_F(ExitCountersTest, AnExitThatWaitsCountsUpToNow) {
    ASSERT_NO_FATAL_FAILURE(exit_and_reply(ExitClass::cpuid, 40));
    ASSERT_EQ(System::exit_guest(*v, ExitClass::cpuid), h);
    EXPECT_EQ(count(ExitClass::cpuid), (Count{2, 40}));
    pass(10);
    EXPECT_EQ(count(ExitClass::cpuid), (Count{2, 50}));
    pass(1ull << 33);  // its handler hangs
    EXPECT_EQ(count(ExitClass::cpuid), (Count{2, 50 + (1ull << 33)}));
    EXPECT_EQ(count(ExitClass::port), nothing());
    // A refused reply changes nothing.
    EXPECT_EQ(reply(Action::advance, state::valid_reply + 1), h);
    pass(5);
    ASSERT_EQ(reply(Action::advance), v);
    pass(1000);
    EXPECT_EQ(count(ExitClass::cpuid), (Count{2, 55 + (1ull << 33)}));
    expect_all_counted();
}

// Whatever happens to its handlers, it is one exit, and it lasts until somebody has answered it.
TEST_F(ExitCountersTest, AnExitThatIsGivenToAnotherHandlerIsOne) {
    ASSERT_EQ(System::exit_guest(*v, ExitClass::port, 1 << port_access::width_shift, 0x1002), h);
    pass(100);
    machine::switch_to(0);
    h->die();
    EXPECT_EQ(System::leave(), nullptr);
    pass(1000);
    EXPECT_EQ(count(ExitClass::port), (Count{1, 1100}));
    s.make(ObjectType::thread, 60, page_size,
           {first::domain, pair(first::core0, 30), 0x401000, 0x7000});
    ASSERT_EQ(s.call(Syscall::thread_ctl, {60, 0}), Status::ok);
    h = &s.object<Thread>(60);
    ASSERT_EQ(System::leave(), h);
    System::trap(*h, Syscall::reply_wait, {});
    ASSERT_EQ(s.call(Syscall::portal_ctl, {22, 0, 60}), Status::ok);
    ASSERT_EQ(System::leave(), h);
    pass(10);
    ASSERT_EQ(reply(Action::advance), v);
    EXPECT_EQ(count(ExitClass::port), (Count{1, 1110}));
    expect_all_counted();
}

TEST_F(ExitCountersTest, WhatAPolicyForwardsIsOneExit) {
    s.make(ObjectType::thread, 60, page_size,
           {first::domain, pair(first::core0, 30), 0x401000, 0x7000});
    ASSERT_EQ(s.call(Syscall::thread_ctl, {60, 0}), Status::ok);
    auto* policy = &s.object<Thread>(60);
    ASSERT_EQ(System::leave(), policy);
    System::trap(*policy, Syscall::reply_wait, {});
    s.make(ObjectType::portal, 62, page_size, {60, first::core0});
    ASSERT_EQ(
        s.call(Syscall::vcpu_ctl, {33, 9, static_cast<std::uint64_t>(ExitClass::cpuid), 62, 0}),
        Status::ok);
    ASSERT_EQ(System::leave(), v);
    ASSERT_EQ(System::exit_guest(*v, ExitClass::cpuid), policy);
    pass(20);
    ASSERT_EQ(System::trap(*policy, Syscall::reply_wait,
                           {0, static_cast<std::uint64_t>(Action::forward), v->sequence, 0, 0,
                            no_vector, no_deadline}),
              h);
    pass(3);
    ASSERT_EQ(reply(Action::advance), v);
    EXPECT_EQ(count(ExitClass::cpuid), (Count{1, 23}));
}

TEST_F(ExitCountersTest, SleepIsNoTimeOfAnExit) {
    ASSERT_EQ(System::exit_guest(*v, ExitClass::halt), h);
    pass(70);
    EXPECT_NE(reply(Action::park_advance), v);
    pass(100'000);
    EXPECT_EQ(count(ExitClass::halt), (Count{1, 70}));
    ASSERT_EQ(s.call(Syscall::vcpu_ctl, {33, static_cast<std::uint64_t>(VcpuOp::recall)}),
              Status::ok);
    ASSERT_EQ(System::leave(), h);
    pass(6);
    ASSERT_EQ(reply(Action::resume), v);
    EXPECT_EQ(count(ExitClass::halt), (Count{1, 70}));
    EXPECT_EQ(count(ExitClass::recall), (Count{1, 6}));
    expect_all_counted();
}

TEST_F(ExitCountersTest, WhatTheKernelAnswersIsCountedApart) {
    const auto kernel = [this](KernelExit e) {
        EXPECT_EQ(ask(first_kernel_exit), Status::ok);
        const unsigned order[] = {gpr_rdi, gpr_rsi, gpr_rdx};
        return s.boot->gpr[order[static_cast<unsigned>(e)]];
    };
    EXPECT_EQ(kernel(KernelExit::interrupt), 0u);
    const auto exit = [this](std::uint64_t code) {
        v->guest.vmcb->exit_code = code;
        v->guest.vmcb->exit_info1 = v->guest.vmcb->exit_info2 = 0;
        return machine::run([this] { guest_exited(v); });
    };
    const std::uint64_t before = v->sequence;
    for (const std::uint64_t code : {vmcb::exit_intr, vmcb::exit_nmi, vmcb::exit_smi})
        ASSERT_EQ(exit(code), v);
    EXPECT_EQ(kernel(KernelExit::interrupt), 3u);
    ASSERT_EQ(exit(vmcb::exception_mc), v);
    EXPECT_EQ(kernel(KernelExit::exception), 1u);
    EXPECT_EQ(kernel(KernelExit::step), 0u);
    EXPECT_EQ(v->sequence, before);
    expect_all_counted();
}

// Each state that another core may find between two stores, in their order.
TEST_F(ExitCountersTest, AGlanceKnowsWhatIsHalfWritten) {
    ASSERT_NO_FATAL_FAILURE(exit_and_reply(ExitClass::cpuid, 40));
    const auto c = static_cast<unsigned>(ExitClass::cpuid);
    ExitsOfClass found;
    const auto glance = [&](ExitClass of) { return v->glance(of, found); };
    const auto ticks = [&](std::uint64_t value) {
        v->counters.ticks[c][0] = static_cast<std::uint32_t>(value);
        v->counters.ticks[c][1] = static_cast<std::uint32_t>(value >> 32);
    };
    // A clock of more than 32 bits.
    machine::now.tsc = 0x5'0000'0010;
    const std::uint64_t open = 40 - machine::now.tsc;
    ++v->sequence;
    EXPECT_TRUE(glance(ExitClass::cpuid)) << "it has begun, and nobody knows";
    EXPECT_EQ(found.ticks, 40u);
    v->pending.exit_class = ExitClass::cpuid;
    v->delivery = delivery::pending | delivery::seen;
    EXPECT_FALSE(glance(ExitClass::cpuid));
    EXPECT_TRUE(glance(ExitClass::port)) << "nothing is written there";
    v->counters.ticks[c][0] = static_cast<std::uint32_t>(open);
    EXPECT_FALSE(glance(ExitClass::cpuid));
    ticks(open);
    machine::now.tsc += 7;
    EXPECT_TRUE(glance(ExitClass::cpuid));
    EXPECT_EQ(found.ticks, 47u);
    // Its clock is behind.
    machine::now.tsc -= 60;
    EXPECT_TRUE(glance(ExitClass::cpuid));
    EXPECT_EQ(found.ticks, 0u);
    // The reply.
    v->delivery = 0;
    EXPECT_FALSE(glance(ExitClass::cpuid));
    v->counters.ticks[c][0] = 55;
    EXPECT_FALSE(glance(ExitClass::cpuid));
    ticks(55);
    EXPECT_TRUE(glance(ExitClass::cpuid));
    EXPECT_EQ(found.ticks, 55u);
}

}  // namespace
}  // namespace margay
