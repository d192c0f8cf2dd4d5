#include "servers/pmem/clear.hpp"

#include "libipc/log.hpp"
#include "libipc/startup.hpp"

namespace margay::pmem {

namespace {
// How much longer than a piece of work the pause after it is.
constexpr std::uint64_t leisure = 3;
}  // namespace

[[noreturn]] void clear_at_leisure(Slot pmem) {
    const StartupItem* domain = find_startup_item(domain_item);
    const StartupItem* dirty = find_startup_item(dirty_item);
    const StartupItem* done = find_startup_item(done_item);
    if (domain == nullptr || dirty == nullptr || done == nullptr)
        fail("the one that clears lacks something", Status::not_found);
    const Slot into = startup().first_free;
    for (;;) {
        const Result<Extent> piece =
            receive_memory(pmem, into, {static_cast<std::uint64_t>(PmemCall::clear), {}});
        if (!piece) {
            (void)wait(dirty->slot);
            continue;
        }
        const std::uint64_t begin = rdtsc();
        const Status s = clear_memory(*piece, domain->slot);
        if (s != Status::ok) fail("memory cannot be cleared", s);
        (void)signal(done->slot, 1);
        // The guests of this core have most of it.
        const std::uint64_t end = rdtsc(), until = end + leisure * (end - begin);
        while (rdtsc() < until) (void)wait(dirty->slot, until);
    }
}

}  // namespace margay::pmem
