// What ends when, on one core: budgets in chains of calls whose members die, and authority that must end with
// the capability it was had through.
#include "libipc/start.hpp"
#include "tests/system/programs/check.hpp"
#include "tests/system/programs/sandbox.hpp"

using namespace margay;
using namespace margay::test;

namespace {

init::Node* node;

Extent memory(std::uint64_t bytes = page_size) { return must(node->allocate(bytes), "memory"); }
Slot event() { return must(node->create_event(), "event"); }
std::uint64_t ms() { return node->info().tsc_khz; }
void nap(unsigned n) {
    static const Slot never = event();
    (void)wait(never, rdtsc() + n * ms());
}

// words[0]: how far it has come; words[1]: the status of its call.
[[gnu::section(".text.child_first"), gnu::aligned(4096), gnu::flatten]] void first(Shared* s) {
    Message m{1, {1}};
    s->words[0] = 1;
    s->words[1] = static_cast<std::uint64_t>(call(child_portal, m));
    for (;;) asm volatile("pause");
}
[[gnu::section(".text.child_middle"), gnu::aligned(4096), gnu::flatten]] void middle(Shared* s) {
    (void)reply_wait({});
    s->words[0] = 1;
    Message m{1, {1}};
    s->words[1] = 100 + static_cast<std::uint64_t>(call(child_portal, m));
    s->words[0] = 2;
    (void)wait(child_event);
    for (;;) s->words[0] = s->words[0] + 1;
}
[[gnu::section(".text.child_last"), gnu::aligned(4096), gnu::flatten]] void last(Shared* s) {
    (void)reply_wait({});
    for (;;) {
        s->words[0] = s->words[0] + 1;
        (void)wait(child_event);
        (void)reply_wait({2, {2}});
    }
}
[[gnu::section(".text.child_spin"), gnu::aligned(4096), gnu::flatten]] void spin(Shared*) {
    for (;;) asm volatile("pause");
}

struct Chain {
    Child a{*node}, b{*node}, c{*node};
    Slot to_c, event_b, event_c;

    Chain() {
        a.make(0, 20, first);
        b.make(0, 20, middle);
        c.make(0, 20, last);
        const Slot to_b = node->new_slot();
        to_c = node->new_slot();
        must(create_portal(to_b, memory().slot, b.thread, init_slot::first_core), "portal");
        must(create_portal(to_c, memory().slot, c.thread, init_slot::first_core), "portal");
        must(copy(to_b, a.domain, child_portal, right::call), "copy");
        must(copy(to_c, b.domain, child_portal, right::call), "copy");
        event_b = event(), event_c = event();
        must(copy(event_b, b.domain, child_event, right::wait), "copy");
        must(copy(event_c, c.domain, child_event, right::wait), "copy");
        c.start();
        b.start();
        nap(5);
        a.start();
        nap(5);
        EXPECT(a.shared->words[0] == 1 && b.shared->words[0] == 1 && c.shared->words[0] == 1);
    }
};

// A calls B, B calls C, A dies. The storage of C, which replies and ends, is the user's again.
void test_storage_of_a_server_that_ended() {
    Chain chain;
    EXPECT_STATUS(thread_ctl(chain.a.thread, ThreadOp::kill), Status::ok);
    EXPECT_STATUS(signal(chain.event_c, 1), Status::ok);
    nap(5);
    EXPECT(chain.b.shared->words[0] == 2);
    EXPECT(chain.b.shared->words[1] == 100);
    EXPECT_STATUS(revoke(chain.c.thread_storage()), Status::ok);
    auto* words = reinterpret_cast<volatile std::uint64_t*>(
        must(node->map_here(chain.c.thread_extent(), map_right::read_write), "map"));
    for (unsigned i = 0; i < 512; ++i) words[i] = 0;
    EXPECT_STATUS(signal(chain.event_b, 1), Status::ok);
    nap(5);
    unsigned written = 0;
    for (unsigned i = 0; i < 512; ++i) written += words[i] != 0;
    EXPECT(written == 0);
    EXPECT(chain.b.shared->words[0] > 2);  // it runs, on a budget of its own
    EXPECT_STATUS(thread_ctl(chain.b.thread, ThreadOp::kill), Status::ok);
}

// The same without anything being destroyed, and another caller for C, which dies as well.
void test_two_callers_die() {
    Chain chain;
    Child d{*node};
    d.make(0, 20, first);
    must(copy(chain.to_c, d.domain, child_portal, right::call), "copy");
    EXPECT_STATUS(thread_ctl(chain.a.thread, ThreadOp::kill), Status::ok);
    EXPECT_STATUS(signal(chain.event_c, 1), Status::ok);
    EXPECT_STATUS(signal(chain.event_b, 1), Status::ok);
    nap(5);
    d.start();
    nap(30);
    EXPECT(chain.c.shared->words[0] == 2);
    EXPECT_STATUS(thread_ctl(d.thread, ThreadOp::kill), Status::ok);
    EXPECT_STATUS(signal(chain.event_c, 1), Status::ok);
    nap(50);
    const std::uint64_t before = chain.b.shared->words[0];
    nap(30);
    EXPECT(chain.b.shared->words[0] > before);
    EXPECT_STATUS(thread_ctl(chain.b.thread, ThreadOp::kill), Status::ok);
}

void test_death_event_ends_with_its_capability() {
    Child x{*node};
    x.make(0, 20, spin);
    const Slot original = event(), given = node->new_slot();
    must(copy(original, init_slot::domain, given, right::signal, 4), "copy");
    EXPECT_STATUS(thread_ctl(x.thread, ThreadOp::set_death_event, given, ~0ull), Status::ok);
    EXPECT_STATUS(revoke(original), Status::ok);
    EXPECT_STATUS(signal(given, 4), Status::bad_capability);
    x.start();
    EXPECT_STATUS(thread_ctl(x.thread, ThreadOp::kill), Status::ok);
    EXPECT_STATUS(wait(original, rdtsc() + 20 * ms()).status(), Status::timed_out);
}

// A Domain with as many slots and records as there can be, in steps that others run between.
void test_big_domain() {
    const Extent big =
        memory(domain_overhead + max_slots * slot_bytes + max_mappings * mapping_bytes + page_size);
    Child beside{*node};
    beside.make(0, 40, spin);
    const Slot d = node->new_slot();
    EXPECT_STATUS(create(ObjectType::domain, d, big.slot, max_slots, max_mappings), Status::ok);
    EXPECT_STATUS(copy(init_slot::domain, d, max_slots - 1), Status::ok);
    EXPECT_STATUS(copy(init_slot::domain, d, max_slots), Status::bad_capability);
    EXPECT_STATUS(revoke(big.slot), Status::ok);
    EXPECT_STATUS(create(ObjectType::domain, d, big.slot, max_slots + 1, 16), Status::bad_argument);
    // Carving does not visit copies.
    const Extent parent = memory(16 * page_size);
    const Extent table = memory(16 << 20);
    EXPECT_STATUS(create(ObjectType::domain, d, table.slot, 100'000, 16), Status::ok);
    const Slot child = node->new_slot();
    const auto carve_once = [&] {
        const std::uint64_t begin = rdtsc();
        EXPECT_STATUS(carve(child, parent.slot, parent.base, page_size), Status::ok);
        const std::uint64_t spent = rdtsc() - begin;
        EXPECT_STATUS(revoke(child, revoke_flag::self), Status::ok);
        return spent;
    };
    (void)carve_once();
    const std::uint64_t alone = carve_once();
    unsigned copies = 0;
    while (copies < 20'000 && copy(parent.slot, d, copies) == Status::ok) ++copies;
    EXPECT(copies == 20'000);
    EXPECT(carve_once() < alone + alone / 10);  // instructions: this test counts them
}

}  // namespace

void program_main(std::uint64_t argument) {
    static init::Node the_node{*reinterpret_cast<const BootInfo*>(argument)};
    node = &the_node;
    use_largest_extent(*node);
    test_storage_of_a_server_that_ended();
    test_two_callers_die();
    test_death_event_ends_with_its_capability();
    test_big_domain();
    finish();
}
