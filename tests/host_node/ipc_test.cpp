// Threads whose user code calls the kernel through libipc.
#include <gtest/gtest.h>

#include <vector>

#include "libipc/system_call.hpp"
#include "tests/host_node/cores.hpp"
#include "tests/unit/kernel/system.hpp"

namespace margay::host_node {
namespace {

class Ipc : public testing::Test {
  protected:
    // A started thread that runs `body`.
    void start(Slot slot, unsigned priority, std::function<void()> body, Slot core = first::core0) {
        const std::uint64_t entry =
            cores.add_program([body = std::move(body)](std::uint64_t) { body(); });
        system.make(ObjectType::thread, slot, page_size,
                    {first::domain, pair(core, priority), entry, 0x7000});
        ASSERT_EQ(system.call(Syscall::thread_ctl, {slot, 0}), Status::ok);
    }

    System system;
    Cores cores;
    bool finished = false;
};

TEST_F(Ipc, CallAndReply) {
    std::vector<std::uint64_t> served;
    start(20, 20, [&] {
        Received r = reply_wait({});
        for (;;) {
            served.push_back(r.message.words[0]);
            r = reply_wait({r.message.label + 1, {r.message.words[0] * 2, r.badge}});
        }
    });
    system.make(ObjectType::portal, 30, page_size, {20, first::core0});
    ASSERT_EQ(system.call(Syscall::copy, {30, pair(first::domain, 32), right::call, 77}),
              Status::ok);
    start(40, 10, [&] {
        for (std::uint64_t i = 1; i <= 3; ++i) {
            Message m{100, {i}};
            EXPECT_EQ(call(32, m), Status::ok);
            EXPECT_EQ(m.label, 101u);
            EXPECT_EQ(m.words[0], 2 * i);
            EXPECT_EQ(m.words[1], 77u);
        }
        finished = true;
        (void)reply_wait({});
    });
    EXPECT_TRUE(cores.run([this] { return finished; }, 1000));
    EXPECT_EQ(served, (std::vector<std::uint64_t>{1, 2, 3}));
}

TEST_F(Ipc, EventAcrossCores) {
    system.make(ObjectType::event, 60, page_size);
    start(
        20, 20,
        [&] {
            const Result<std::uint64_t> bits = wait(60);
            EXPECT_EQ(bits.status(), Status::ok);
            EXPECT_EQ(*bits, 6u);
            finished = true;
            (void)reply_wait({});
        },
        first::core2);
    start(
        40, 10,
        [&] {
            EXPECT_EQ(signal(60, 6), Status::ok);
            (void)reply_wait({});
        },
        first::core1);
    EXPECT_TRUE(cores.run([this] { return finished; }, 1000));
}

TEST_F(Ipc, TimePasses) {
    system.make(ObjectType::event, 60, page_size);
    start(20, 20, [&] {
        const std::uint64_t at = rdtsc() + 1'000'000;
        EXPECT_EQ(wait(60, at).status(), Status::timed_out);
        EXPECT_GE(rdtsc(), at);
        finished = true;
        (void)reply_wait({});
    });
    EXPECT_TRUE(cores.run([this] { return finished; }, 1000));
}

// What user code does wrong ends its thread, not the kernel, and not the caller that it serves.
TEST_F(Ipc, FaultsEndTheThread) {
    start(20, 20, [&] {
        (void)reply_wait({});
        *reinterpret_cast<volatile std::uint64_t*>(0x5000'0000) = 1;
        ADD_FAILURE() << "nothing is mapped there";
    });
    system.make(ObjectType::portal, 30, page_size, {20, first::core0});
    start(40, 10, [&] {
        Message m{};
        EXPECT_EQ(call(30, m), Status::dead_partner);
        finished = true;
        __builtin_trap();
    });
    EXPECT_TRUE(
        cores.run([this] { return system.object<Thread>(40).state == ContextState::dead; }, 1000));
    EXPECT_TRUE(finished);
    const auto& server = system.object<Thread>(20);
    EXPECT_EQ(server.state, ContextState::dead);
    EXPECT_EQ(server.fault_vector, 14u);
    EXPECT_EQ(server.fault_address, 0x5000'0000u);
    EXPECT_EQ(server.fault_error, 6u);
    EXPECT_EQ(system.object<Thread>(40).fault_vector, 6u);
}

// Memory is seen through the page tables: at any address, and not any more once it is revoked.
TEST_F(Ipc, MappedMemory) {
    system.carve(50, 4 * page_size);
    constexpr std::uint64_t at = 0x2000'0000'0000, again = 0x3000'0000;
    bool written = false, go_on = false;
    start(20, 20, [&] {
        EXPECT_EQ(map(50, first::domain, at, 0, 4 * page_size, map_right::read_write), Status::ok);
        EXPECT_EQ(map(50, first::domain, again, page_size, page_size, map_right::read), Status::ok);
        auto* words = reinterpret_cast<volatile std::uint64_t*>(at);
        words[512] = 0x1234;
        EXPECT_EQ(*reinterpret_cast<volatile std::uint64_t*>(again), 0x1234u);
        written = true;
        while (!go_on) yield();
        EXPECT_EQ(revoke(50), Status::ok);
        finished = true;
        words[512] = 1;
        ADD_FAILURE() << "it was revoked";
    });
    EXPECT_TRUE(cores.run([&] { return written; }, 1000));
    go_on = true;
    EXPECT_TRUE(
        cores.run([this] { return system.object<Thread>(20).state == ContextState::dead; }, 1000));
    EXPECT_TRUE(finished);
    EXPECT_EQ(system.object<Thread>(20).fault_address, at + page_size);
}

TEST_F(Ipc, ATimerEndsASpin) {
    start(20, 10, [&] {
        for (;;) Cores::spin();
    });
    system.make(ObjectType::event, 60, page_size);
    start(40, 20, [&] {
        EXPECT_EQ(wait(60, rdtsc() + 1'000'000).status(), Status::timed_out);
        finished = true;
        (void)reply_wait({});
    });
    EXPECT_TRUE(cores.run([this] { return finished; }, 1000));
}

}  // namespace
}  // namespace margay::host_node
