#include "servers/pmem/clear.hpp"

#include "libipc/log.hpp"
#include "libipc/startup.hpp"

namespace margay::pmem {

namespace {

// How much longer than a piece of work the pause after it is.
constexpr std::uint64_t leisure = 3;

// The boot extent of that number; no_slot if there is none.
Slot root_of(std::uint64_t index) {
    const Startup& s = startup();
    for (unsigned i = 0; i < s.count && i < startup_items; ++i)
        if (std::string_view{s.item[i].name} == ram_item && index-- == 0) return s.item[i].slot;
    return no_slot;
}

}  // namespace

[[noreturn]] void clear_at_leisure(const StartupItem& item) {
    const StartupItem* domain = find_startup_item(domain_item);
    const StartupItem* dirty = find_startup_item(dirty_item);
    if (domain == nullptr || dirty == nullptr)
        fail("the one that clears lacks something", Status::not_found);
    auto& work = *mapped<ClearWork>(item);
    const Slot into = startup().first_free;
    for (;;) {
        const std::uint32_t wanted = work.wanted.load();
        if (work.done.load() == wanted) {
            (void)wait(dirty->slot);
            continue;
        }
        const Extent piece{into, work.base, work.size};
        const std::uint64_t begin = rdtsc();
        Status s = carve(into, root_of(work.root), piece.base, piece.size, carve_flag::estate);
        if (s == Status::ok) s = clear_memory(piece, domain->slot);
        if (s != Status::ok) fail("memory cannot be cleared", s);
        (void)revoke(into, revoke_flag::self);
        work.done.store(wanted);
        (void)signal(item.slot, item.value);
        // The guests of this core have most of it.
        const std::uint64_t end = rdtsc(), until = end + leisure * (end - begin);
        while (rdtsc() < until) (void)wait(dirty->slot, until);
    }
}

}  // namespace margay::pmem
