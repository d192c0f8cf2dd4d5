// pci: knows the machine's PCI functions, and gives each to one holder at a time, still and new (proto/pci.hpp). What it has found
// out and what is in hand outlives it: functions that are in use are not looked at again.
#include <new>

#include "libipc/log.hpp"
#include "libipc/start.hpp"
#include "libipc/startup.hpp"
#include "servers/pci/claims.hpp"
#include "servers/pci/machine_config.hpp"
#include "servers/pci/undo.hpp"

namespace margay::pci {

namespace {

// The memory of item `book`: all zero when there was no server yet.
struct KeptBook {
    static constexpr std::uint64_t complete = 0x7063'6900'0000'0000 + sizeof(Topology);
    std::uint64_t mark;
    UndoBook undo;
    Claim claim[pci_functions];
    alignas(Topology) std::byte topology[sizeof(Topology)];
};
static_assert(sizeof(KeptBook) <= pci_book_bytes);
static_assert(Topology::most == pci_functions);

const StartupItem& need(const char* name) {
    const StartupItem* item = find_startup_item(name);
    if (item == nullptr) fail("the start-up block lacks an item", Status::not_found);
    return *item;
}

void add_windows(MachineConfig& config) {
    const Startup& s = startup();
    for (unsigned i = 0; i < s.count && i < startup_items; ++i) {
        const StartupItem& item = s.item[i];
        if (std::string_view{item.name} == "ecam")
            config.add({item.address, static_cast<unsigned>(item.value),
                        static_cast<unsigned>(item.size >> 20)});
    }
}

// Whoever comes first looks at the machine, while nobody uses it.
Topology& topology_of(KeptBook& kept, Config& machine) {
    auto* topology = reinterpret_cast<Topology*>(kept.topology);
    UndoneConfig config{machine, kept.undo};
    config.undo();
    if (kept.mark == KeptBook::complete) return *topology;
    new (topology) Topology;
    topology->scan(config);
    if (topology->left_out() != 0)
        log("{} functions are not used: there are too many\n", topology->left_out());
    kept.mark = KeptBook::complete;
    return *topology;
}

}  // namespace

}  // namespace margay::pci

void program_main(std::uint64_t) {
    using namespace margay;
    using namespace margay::pci;
    open_startup_log();
    static MachineConfig machine{need("ports").slot};
    add_windows(machine);
    const StartupItem& shared = need("board");
    auto& board = *mapped<PciBoard>(shared);
    auto& kept = *mapped<KeptBook>(need("book"));
    board.busy.store(1);
    static Claims claims{machine, topology_of(kept, machine), board, kept.claim, startup().tsc_khz};
    const Slot event = need("event").slot;
    if (board.listed.load() == 0) claims.list();
    (void)signal(shared.slot, shared.value);
    for (;;) {
        board.turns.fetch_add(1, std::memory_order_relaxed);
        if (claims.work(rdtsc())) (void)signal(shared.slot, shared.value);
        if (const std::uint64_t due = claims.due(); due > rdtsc()) (void)wait(event, due);
    }
}
