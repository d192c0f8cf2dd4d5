// Boards of several vCPUs over one state: who gets which message, what they share, and what a successor finds.
#include "servers/vmm/board.hpp"
#include "servers/vmm/devices/inbox.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace margay::vmm {
namespace {

constexpr unsigned count = 4;
constexpr std::uint32_t icr = 0x830, self = 1U << 18, all = 2U << 18, others = 3U << 18;

class SeveralCpus : public ::testing::Test {
  protected:
    struct One {
        One(SeveralCpus& test, unsigned cpu)
            : lock{&test.word, transaction, is_locked},
              words{test.memory, undo, transaction},
              board{{test.state, test.cpus, cpu, transaction, lock, waker, test.clock, test.sink,
                     test.control, test.memory, words}} {}
        Transaction transaction;
        bool is_locked = false;
        BoardLock lock;
        GuestWordUndo undo[guest_word_undos] = {};
        GuestWords words;
        test::FakeWaker waker;
        Board board;
    };

    SeveralCpus() {
        const BoardConfig config{2'000'000, 1'700'000'000, 0, 40, 1, 0, count, 0};
        Board::reset(state, config, test::generous_cpuid);
        cpus.count = count;
        for (unsigned i = 0; i < count; ++i) {
            Board::reset(cpu[i], config, i);
            cpus.state[i] = &cpu[i];
        }
        for (unsigned i = 0; i < count; ++i) {
            one.push_back(std::make_unique<One>(*this, i));
            // Software enables it.
            in(i, [](Board& b) { EXPECT_EQ(b.msr_write(0x80f, 0x1ff), MsrResult::done); });
        }
    }

    // An exit of a vCPU.
    template <typename Handler>
    void in(unsigned i, Handler handler) {
        one[i]->transaction.begin(transaction_number(i, ++sequence));
        handler(one[i]->board);
        if (one[i]->lock.is_held()) {
            one[i]->board.tell_first();
            one[i]->lock.release();
        }
    }
    void send(unsigned from, std::uint64_t value) {
        in(from, [value](Board& b) { EXPECT_EQ(b.msr_write(icr, value), MsrResult::done); });
    }
    // What it takes out of its inbox.
    std::optional<std::uint8_t> arrives(unsigned i) {
        std::optional<std::uint8_t> vector;
        in(i, [&vector](Board& b) {
            EXPECT_FALSE(b.open_inbox());
            vector = b.interrupt_to_inject();
        });
        return vector;
    }
    std::vector<unsigned> woken(unsigned i) { return std::exchange(one[i]->waker.woken, {}); }

    BoardState state{};
    CpuState cpu[count] = {};
    Cpus cpus;
    std::uint64_t word = 0, sequence = 0;
    test::FakeClock clock;
    test::FakeSink sink;
    test::FakeControl control;
    test::FakeMemory memory;
    std::vector<std::unique_ptr<One>> one;
};

TEST_F(SeveralCpus, AMessageReachesTheOneThatItNames) {
    send(0, 2ULL << 32 | 0x51);
    EXPECT_EQ(woken(0), std::vector{2U});
    EXPECT_EQ(arrives(1), std::nullopt);
    EXPECT_EQ(arrives(3), std::nullopt);
    EXPECT_EQ(arrives(2), 0x51);
}

TEST_F(SeveralCpus, Shorthands) {
    send(1, self | 0x52);
    EXPECT_TRUE(woken(1).empty());
    EXPECT_EQ(arrives(1), 0x52);
    send(2, others | 0x61);
    EXPECT_EQ(woken(2), (std::vector{0U, 1U, 3U}));
    EXPECT_EQ(arrives(2), std::nullopt);
    EXPECT_EQ(arrives(3), 0x61);
    send(3, all | 0x72);
    EXPECT_EQ(woken(3), (std::vector{0U, 1U, 2U}));
    EXPECT_EQ(arrives(3), 0x72);  // its own, above the one that it has
    EXPECT_EQ(arrives(0), 0x72);
}

TEST_F(SeveralCpus, LogicalDestinationsOfACluster) {
    send(0, 0x0000'000aULL << 32 | 1U << 11 | 0x53);  // vCPUs 1 and 3 of cluster 0
    EXPECT_EQ(woken(0), (std::vector{1U, 3U}));
    send(0, 0x0001'000fULL << 32 | 1U << 11 | 0x53);  // another cluster
    EXPECT_TRUE(woken(0).empty());
}

TEST_F(SeveralCpus, LowestPriorityIsOne) {
    in(1, [](Board& b) { b.set_task_priority(0x20); });
    in(2, [](Board& b) { b.set_task_priority(0x10); });
    in(3, [](Board& b) { b.set_task_priority(0x30); });
    send(0, 0x0000'000eULL << 32 | 1U << 11 | 1U << 8 | 0x95);
    EXPECT_EQ(woken(0), std::vector{2U});
    EXPECT_EQ(arrives(2), 0x95);
}

TEST_F(SeveralCpus, InitAndStartUp) {
    send(0, 3ULL << 32 | 0xc500);
    send(0, 3ULL << 32 | 0x8500);  // its level goes away: nothing
    EXPECT_EQ(woken(0), std::vector{3U});
    in(3, [](Board& b) {
        EXPECT_FALSE(b.open_inbox());
        EXPECT_TRUE(b.local_apic().has_init());
        EXPECT_FALSE(b.local_apic().has_startup());
        b.local_apic().take_init();
        EXPECT_FALSE(b.local_apic().has_init());
    });
    EXPECT_EQ(cpu[3].local_apic.live.spurious, 0xffU);
    EXPECT_EQ(cpu[3].local_apic.live.id, 3U);
    EXPECT_EQ(cpu[3].local_apic.live.base & 0xfff,
              0xc00U);  // x2APIC mode stays; it is not the boot processor
    send(0, 3ULL << 32 | 0x0600 | 0x9a);
    in(3, [](Board& b) {
        EXPECT_FALSE(b.open_inbox());
        ASSERT_TRUE(b.local_apic().has_startup());
        EXPECT_EQ(b.local_apic().take_startup(), 0x9a);
    });
}

TEST_F(SeveralCpus, BothAtOnceComeInOrder) {
    send(0, 3ULL << 32 | 0x0600 | 0x11);  // void: INIT comes after it
    send(0, 3ULL << 32 | 0xc500);
    send(0, 3ULL << 32 | 0x0600 | 0x22);
    in(3, [](Board& b) {
        EXPECT_FALSE(b.open_inbox());
        ASSERT_TRUE(b.local_apic().has_init());
        b.local_apic().take_init();
        ASSERT_TRUE(b.local_apic().has_startup());
        EXPECT_EQ(b.local_apic().take_startup(), 0x22);
    });
}

TEST_F(SeveralCpus, NonMaskable) {
    send(1, 0ULL << 32 | 4U << 8);
    in(0, [](Board& b) {
        EXPECT_FALSE(b.open_inbox());
        EXPECT_TRUE(b.nmi_to_inject());
        EXPECT_FALSE(b.nmi_to_inject());
    });
}

TEST_F(SeveralCpus, AKickEndsAHalt) {
    in(1, [](Board& b) { EXPECT_TRUE(b.kick(3)); });
    EXPECT_EQ(woken(1), std::vector{3U});
    in(2, [](Board& b) { EXPECT_FALSE(b.kick(count)); });  // nobody
    EXPECT_TRUE(woken(2).empty());
    in(0, [](Board& b) { EXPECT_FALSE(b.open_inbox()); });
    in(3, [](Board& b) {
        EXPECT_TRUE(b.open_inbox());
        EXPECT_EQ(b.interrupt_to_inject(), std::nullopt);
    });
    in(3, [](Board& b) { EXPECT_FALSE(b.open_inbox()); });
}

TEST_F(SeveralCpus, OneCallSendsToMany) {
    // vCPUs 1 and 3, and one that is not there.
    std::uint64_t sent = 0;
    in(0, [&](Board& b) { sent = answer_kvm_call({10, {0x15, 0, 1, 0x53}, true, 0}, b); });
    EXPECT_EQ(sent, 2U);
    EXPECT_EQ(woken(0), (std::vector{1U, 3U}));
    EXPECT_EQ(arrives(1), 0x53);
    EXPECT_EQ(arrives(2), std::nullopt);
    EXPECT_EQ(arrives(3), 0x53);
    in(0, [&](Board& b) { sent = answer_kvm_call({10, {1, 0, 0, 0x54}, true, 0}, b); });
    EXPECT_EQ(sent, 1U);  // to itself
    EXPECT_TRUE(woken(0).empty());
    EXPECT_EQ(arrives(0), 0x54);
}

// The end of a VM: all are off, and nothing is on its way.
TEST_F(SeveralCpus, AllAreOff) {
    const auto sleep = [this](unsigned i) {
        cpu[i].vcpu.live.halted = cpu[i].vcpu.live.is_off = 1;
    };
    cpu[2].vcpu.live.awaits_startup = cpu[3].vcpu.live.awaits_startup = 1;
    sleep(1);
    EXPECT_FALSE(all_are_off(cpus));
    // One sends an NMI to another one and falls asleep before that has seen it.
    send(0, 1ULL << 32 | 4U << 8);
    sleep(0);
    EXPECT_FALSE(all_are_off(cpus));
    // It is about to see it: nothing is in its inbox any more, and it is not awake yet.
    cpus.takes_messages[1] = true;
    EXPECT_EQ(arrives(1), std::nullopt);
    EXPECT_FALSE(all_are_off(cpus));
    cpu[1].vcpu.live.is_off = 0;
    cpus.takes_messages[1] = false;
    EXPECT_FALSE(all_are_off(cpus));
    sleep(1);
    EXPECT_TRUE(all_are_off(cpus));
    send(0, 3ULL << 32 | 6U << 8 | 0x22);
    EXPECT_FALSE(all_are_off(cpus));
}

// Two wake each other without end, and sleep between: at no moment are both off.
TEST_F(SeveralCpus, WakingEachOther) {
    for (unsigned i = 1; i < count; ++i) {
        cpu[i].vcpu.live.awaits_startup = 1;
    }
    cpu[1].vcpu.live.awaits_startup = 0;
    cpu[1].vcpu.live.halted = cpu[1].vcpu.live.is_off = 1;
    constexpr unsigned turns = 20'000;
    std::atomic<unsigned> wrong = 0;
    const auto run = [&](unsigned i) {
        auto& glue = cpu[i].vcpu.live;
        std::uint64_t number = 0;
        for (unsigned turn = 0; turn < turns; ++turn) {
            if (i == 1 || turn != 0) {
                while (Inbox{cpu[i].inbox.live}.is_empty()) {
                    std::this_thread::yield();
                }
                cpus.takes_messages[i] = true;
                (void)Inbox{cpu[i].inbox.live}.take(transaction_number(i, ++number),
                                                    [](const ApicMessage&) {});
                std::atomic_ref{glue.is_off}.store(0);
                cpus.takes_messages[i] = false;
            }
            Inbox{cpu[1 - i].inbox.live}.post({0, 0, DeliveryMode::nmi, false, false});
            std::atomic_ref{glue.is_off}.store(1);
            // The last one's last message is not answered: then all are off, or that one has not looked yet.
            if (turn + 1 < turns && all_are_off(cpus)) {
                ++wrong;
            }
        }
    };
    std::thread other{[&] { run(1); }};
    run(0);
    other.join();
    EXPECT_EQ(wrong, 0U);
}

// The I/O APIC sends to any vCPU, from whichever the line was raised, and hears of its end.
TEST_F(SeveralCpus, LevelInterruptsOfAnotherOne) {
    in(0, [](Board& b) {
        b.mmio_write(0xfec0'0000, 4, 0x10 + 2 * 9);
        b.mmio_write(0xfec0'0010, 4, 1U << 15 | 0x55);
        b.mmio_write(0xfec0'0000, 4, 0x11 + 2 * 9);
        b.mmio_write(0xfec0'0010, 4, 2U << 24);
        b.port_write(0x602, 2, 1 << 8);  // the power button may interrupt
    });
    in(0, [](Board& b) { b.see_power_presses(1); });
    EXPECT_EQ(woken(0), std::vector{2U});
    EXPECT_EQ(arrives(2), 0x55);
    in(2, [](Board& b) { b.interrupt_taken(0x55); });
    EXPECT_NE(state.io_apic.live.redirection[9] & 1 << 14, 0U);
    // Still asserted: with the end it comes again.
    in(2, [](Board& b) { EXPECT_EQ(b.msr_write(0x80b, 0), MsrResult::done); });
    EXPECT_EQ(arrives(2), 0x55);
    in(2, [](Board& b) { b.interrupt_taken(0x55); });
    in(1, [](Board& b) { b.port_write(0x600, 2, 1 << 8); });  // another one quiets the device
    in(2, [](Board& b) { EXPECT_EQ(b.msr_write(0x80b, 0), MsrResult::done); });
    EXPECT_EQ(state.io_apic.live.redirection[9] & 1 << 14, 0U);
    EXPECT_EQ(arrives(2), std::nullopt);
}

// vCPU 0 serves the shared timers and the PIC.
TEST_F(SeveralCpus, TheFirstIsToldOfWhatItServes) {
    in(3, [](Board& b) {
        b.port_write(0x43, 1, 0x30);
        b.port_write(0x40, 1, 0xff);
        b.port_write(0x40, 1, 0xff);
        EXPECT_EQ(b.next_deadline(), no_deadline);
    });
    EXPECT_EQ(woken(3), std::vector{0U});
    EXPECT_NE(one[0]->board.next_deadline(), no_deadline);
    in(1, [](Board& b) { (void)b.port_read(0x3fd, 1); });
    EXPECT_TRUE(woken(1).empty());
}

TEST_F(SeveralCpus, TheLockNamesItsHolder) {
    one[2]->transaction.begin(transaction_number(2, 77));
    EXPECT_EQ(word, 0U);
    (void)one[2]->board.port_read(0x3fd, 1);
    EXPECT_EQ(word, transaction_number(2, 77));
    EXPECT_TRUE(one[2]->lock.is_held());
    one[2]->lock.release();
    EXPECT_EQ(word, 0U);
    // What is one's own needs none.
    one[1]->transaction.begin(transaction_number(1, 78));
    EXPECT_EQ(one[1]->board.msr_write(icr, 2ULL << 32 | 0x51), MsrResult::done);
    EXPECT_FALSE(one[1]->lock.is_held());
}

TEST_F(SeveralCpus, TheLockExcludes) {
    constexpr unsigned times = 20'000;
    std::uint64_t sum = 0;  // a race would lose some
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < count; ++i) {
        threads.emplace_back([this, i, &sum] {
            Transaction transaction;
            bool is_locked = false;
            BoardLock lock{&word, transaction, is_locked};
            for (unsigned n = 1; n <= times; ++n) {
                transaction.begin(transaction_number(i, n));
                EXPECT_TRUE(lock.need());
                EXPECT_FALSE(lock.need());
                ++sum;
                lock.release();
            }
        });
    }
    for (auto& t : threads) t.join();
    EXPECT_EQ(sum, std::uint64_t{count} * times);
}

// A transaction that took messages out and was cut off: they come again, with what came since.
TEST(Inbox, NothingIsLostWithItsReader) {
    InboxState state{};
    Inbox inbox{state};
    inbox.post({0, 0x41, DeliveryMode::fixed, false, false});
    inbox.post({0, 0x91, DeliveryMode::fixed, false, true});
    inbox.post({0, 0, DeliveryMode::nmi, false, false});
    inbox.post({0, 0x12, DeliveryMode::startup, false, false});
    std::vector<std::uint8_t> seen;
    const auto see = [&seen](const ApicMessage& m) { seen.push_back(m.vector); };
    EXPECT_FALSE(inbox.take(7, see));
    EXPECT_EQ(seen, (std::vector<std::uint8_t>{0x41, 0x91, 0, 0x12}));
    EXPECT_TRUE(inbox.is_empty());
    inbox.post({0, 0x42, DeliveryMode::fixed, false, false});
    inbox.put_back(6);  // another one
    seen.clear();
    inbox.put_back(7);
    inbox.put_back(7);
    EXPECT_FALSE(inbox.take(8, see));
    EXPECT_EQ(seen, (std::vector<std::uint8_t>{0x41, 0x42, 0x91, 0, 0x12}));
    inbox.put_back(7);
    EXPECT_TRUE(inbox.is_empty());
}

TEST(Inbox, WhatIsLevelTriggeredStaysSo) {
    InboxState state{};
    Inbox inbox{state};
    bool level = false;
    const auto see = [&level](const ApicMessage& m) { level = m.level; };
    inbox.post({0, 0x91, DeliveryMode::fixed, false, true});
    EXPECT_FALSE(inbox.take(1, see));
    EXPECT_TRUE(level);
    inbox.post({0, 0x91, DeliveryMode::fixed, false, false});
    EXPECT_FALSE(inbox.take(2, see));
    EXPECT_FALSE(level);
}

// An INIT that came after the start-up that was taken out voids it.
TEST(Inbox, AnInitVoidsAStartUpThatIsPutBack) {
    InboxState state{};
    Inbox inbox{state};
    inbox.post({0, 0x12, DeliveryMode::startup, false, false});
    EXPECT_FALSE(inbox.take(7, [](const ApicMessage&) {}));
    inbox.post({0, 0, DeliveryMode::init, false, false});
    inbox.put_back(7);
    unsigned startups = 0, inits = 0;
    EXPECT_FALSE(inbox.take(8, [&](const ApicMessage& m) {
        (m.mode == DeliveryMode::startup ? startups : inits) += 1;
    }));
    EXPECT_EQ(startups, 0U);
    EXPECT_EQ(inits, 1U);
}

TEST(Inbox, AKickIsNotLostWithItsReader) {
    InboxState state{};
    Inbox inbox{state};
    const auto none = [](const ApicMessage&) { ADD_FAILURE(); };
    inbox.kick();
    EXPECT_FALSE(inbox.is_empty());
    EXPECT_TRUE(inbox.take(7, none));
    EXPECT_TRUE(inbox.is_empty());
    inbox.put_back(7);
    EXPECT_TRUE(inbox.take(8, none));
    // A start-up message does not take it away; INIT does.
    inbox.kick();
    inbox.post({0, 0x12, DeliveryMode::startup, false, false});
    const auto any = [](const ApicMessage&) {};
    EXPECT_TRUE(inbox.take(9, any));
    inbox.kick();
    inbox.post({0, 0, DeliveryMode::init, false, false});
    EXPECT_FALSE(inbox.take(10, any));
}

TEST(Inbox, ManySendersAndAReader) {
    constexpr unsigned senders = 3, vectors = 64;
    InboxState state{};
    std::vector<std::thread> threads;
    for (unsigned s = 0; s < senders; ++s) {
        threads.emplace_back([&state, s] {
            for (unsigned v = 0; v < vectors; ++v)
                Inbox{state}.post({0, static_cast<std::uint8_t>(16 + s * vectors + v),
                                   DeliveryMode::fixed, false, false});
        });
    }
    std::vector<unsigned> seen(256);
    unsigned different = 0;
    for (std::uint64_t n = 1; different < senders * vectors; ++n)
        (void)Inbox{state}.take(n,
                                [&](const ApicMessage& m) { different += seen[m.vector]++ == 0; });
    for (auto& t : threads) t.join();
    for (unsigned v = 16; v < 16 + senders * vectors; ++v) EXPECT_EQ(seen[v], 1U) << v;
}

}  // namespace
}  // namespace margay::vmm
