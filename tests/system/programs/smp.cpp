// Two cores: Events across them, calls that must not cross, revocation while the other core runs.
#include "libipc/start.hpp"
#include "tests/system/programs/check.hpp"
#include "tests/system/programs/sandbox.hpp"

using namespace margay;
using namespace margay::test;

namespace {

init::Node* node;

Extent memory(std::uint64_t bytes = page_size) { return must(node->allocate(bytes), "memory"); }
std::uint64_t ms() { return node->info().tsc_khz; }

constexpr std::uint64_t victim_address = 0x700000;

// words[0]: rounds; event 1 in, event 4 out.
[[gnu::section(".text.child_pong"), gnu::aligned(4096)]] void pong(Shared* s) {
    for (;;) {
        if (!wait(child_event)) __builtin_trap();
        s->words[0] = s->words[0] + 1;
        (void)signal(4, 1);
    }
}

// Writes a counter into memory that will be revoked.
[[gnu::section(".text.child_writer"), gnu::aligned(4096)]] void writer(Shared* s) {
    auto* victim = reinterpret_cast<volatile std::uint64_t*>(victim_address);
    for (std::uint64_t i = 1;; ++i) {
        *victim = i;
        s->words[0] = i;
    }
}

[[gnu::section(".text.child_caller"), gnu::aligned(4096)]] void caller(Shared* s) {
    Message m{1, {1}};
    s->words[1] = static_cast<std::uint64_t>(call(child_portal, m));
    s->words[0] = 1;
    (void)wait(child_event);
    for (;;) asm volatile("pause");
}

[[gnu::section(".text.child_echo2"), gnu::aligned(4096)]] void echo(Shared*) {
    Received r = reply_wait({});
    for (;;) r = reply_wait(r.message);
}

template <typename Condition>
bool within(unsigned milliseconds, Condition condition) {
    for (const std::uint64_t end = rdtsc() + milliseconds * ms(); rdtsc() < end;) {
        if (condition()) return true;
        asm volatile("pause");
    }
    return false;
}

void test_events() {
    Child child{*node};
    child.make(1, 20, pong);
    const Slot there = must(node->create_event(), "event");
    const Slot back = must(node->create_event(), "event");
    must(copy(there, child.domain, child_event, right::wait), "event");
    must(copy(back, child.domain, 4, right::signal), "event");
    child.start();
    unsigned rounds = 0;
    for (; rounds < 1000; ++rounds) {
        if (signal(there, 1) != Status::ok) break;
        if (!wait(back, rdtsc() + 2000 * ms())) break;
    }
    EXPECT(rounds == 1000);
    EXPECT(child.shared->words[0] == 1000);
    child.destroy();
    EXPECT_STATUS(signal(there, 1), Status::ok);
}

void test_no_ipc_between_cores() {
    Child server{*node}, client{*node};
    server.make(0, 32, echo);
    client.make(1, 32, caller);
    const Slot portal = node->new_slot();
    must(create_portal(portal, memory().slot, server.thread, init_slot::first_core), "portal");
    EXPECT_STATUS(
        create_portal(node->new_slot(), memory().slot, server.thread, init_slot::first_core + 1),
        Status::wrong_core);
    must(copy(portal, client.domain, child_portal, right::call), "portal");
    server.start();
    client.start();
    EXPECT(within(2000, [&] { return client.shared->words[0] == 1; }));
    EXPECT(client.shared->words[1] == static_cast<std::uint64_t>(Status::wrong_core));
    // Destroyed from here while it runs there.
    client.destroy();
    server.destroy();
}

void test_revocation() {
    // Many rounds: memory is revoked while the other core writes to it; afterwards not one write may
    // arrive any more.
    for (unsigned round = 0; round < 40; ++round) {
        Child child{*node};
        child.make(1, 20, writer);
        const Extent victim = memory();
        auto* seen = reinterpret_cast<volatile std::uint64_t*>(
            must(node->map_here(victim, map_right::read_write), "victim"));
        *seen = 0;
        const Slot given = node->new_slot();
        must(copy(victim.slot, init_slot::domain, given), "victim");
        must(map(given, child.domain, victim_address, 0, page_size, map_right::read_write),
             "victim");
        const Slot death = must(node->create_event(), "event");
        must(thread_ctl(child.thread, ThreadOp::set_death_event, death, 1), "event");
        child.start();
        EXPECT(within(2000, [&] { return child.shared->words[0] > 1000; }));
        EXPECT_STATUS(revoke(given), Status::ok);
        const std::uint64_t last = *seen;
        *seen = last;
        EXPECT(wait(death, rdtsc() + 2000 * ms()).status() == Status::ok);
        EXPECT(*seen == last);
        EXPECT(*read_register(child.thread, ThreadRegister::fault_address) == victim_address);
        child.destroy();
    }
}

}  // namespace

void program_main(std::uint64_t argument) {
    static init::Node the_node{*reinterpret_cast<const BootInfo*>(argument)};
    node = &the_node;
    use_largest_extent(*node);
    EXPECT(node->info().cores == 2);
    test_events();
    test_no_ipc_between_cores();
    test_revocation();
    finish();
}
