#include "servers/pmem/clear.hpp"

#include "libipc/log.hpp"
#include "libipc/startup.hpp"

namespace margay::pmem {

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
        const Status s = clear_memory(*piece, domain->slot);
        if (s != Status::ok) fail("memory cannot be cleared", s);
        (void)signal(done->slot, 1);
    }
}

}  // namespace margay::pmem
