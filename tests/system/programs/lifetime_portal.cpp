// A handler that dies while a portal is made for it: the portal leads nowhere, not into storage that is
// somebody else's since. Two cores.
#include "libipc/start.hpp"
#include "tests/system/programs/check.hpp"
#include "tests/system/programs/sandbox.hpp"

using namespace margay;
using namespace margay::test;

namespace {

init::Node* node;
std::uint64_t ms() { return node->info().tsc_khz; }
Extent memory(std::uint64_t bytes = page_size) { return must(node->allocate(bytes), "memory"); }

// Faults at once; its report takes a while.
[[gnu::section(".text.child_handler"), gnu::aligned(4096), gnu::flatten]] void handler(Shared* s) {
    s->words[0] = 1;
    asm volatile("ud2");
}
[[gnu::section(".text.child_asks"), gnu::aligned(4096), gnu::flatten]] void caller(Shared* s) {
    Message m{1, {1}};
    s->words[0] = 1;
    s->words[1] = static_cast<std::uint64_t>(call(child_portal, m));
    s->words[0] = 2;
    for (;;) asm volatile("pause");
}

}  // namespace

void program_main(std::uint64_t argument) {
    static init::Node the_node{*reinterpret_cast<const BootInfo*>(argument)};
    node = &the_node;
    use_largest_extent(*node);
    unsigned refused = 0, bound = 0;
    for (unsigned number = 0; number < 40; ++number) {
        Child h{*node}, c{*node};
        h.make(1, 20, handler);
        c.make(1, 20, caller);
        const Slot portal = node->new_slot();
        const Slot storage = memory().slot;
        h.start();
        while (h.shared->words[0] == 0) asm volatile("pause");
        for (unsigned i = 0; i < number * 20; ++i) asm volatile("pause");
        const Status s = create_portal(portal, storage, h.thread, init_slot::first_core + 1);
        EXPECT(s == Status::ok || s == Status::dead_partner);
        if (s == Status::dead_partner) {
            ++refused;
            EXPECT_STATUS(portal_ctl(portal, PortalOp::unbind), Status::bad_capability);
            h.destroy();
            c.destroy();
            continue;
        }
        // It was alive when it was bound: it has gone since, and the portal leads to nobody.
        ++bound;
        const Slot death = must(node->create_event(), "event");
        (void)wait(death, rdtsc() + 20 * ms());
        must(copy(portal, c.domain, child_portal, right::call, child_data), "copy");
        EXPECT_STATUS(revoke(h.thread_storage()), Status::ok);
        auto* words = reinterpret_cast<volatile std::uint64_t*>(
            must(node->map_here(h.thread_extent(), map_right::read_write), "map"));
        for (unsigned i = 0; i < 512; ++i) words[i] = ~0ull;
        c.start();
        (void)wait(death, rdtsc() + 5 * ms());
        EXPECT(c.shared->words[0] == 1);  // it waits for a handler
        for (unsigned i = 0; i < 512; ++i)
            if (words[i] != ~0ull) EXPECT(!"the kernel wrote into memory that is not its own");
        c.destroy();
    }
    say("{} refused, {} bound before\n", refused, bound);
    finish();
}
