#include "ukernel/object/domain.hpp"

#include <new>

#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/core/core.hpp"
#include "ukernel/memory/kernel_tables.hpp"

namespace margay {

Result<Domain*> Domain::create(HostPhys base, std::uint64_t size, std::uint64_t slot_count,
                               std::uint64_t mapping_count) {
    if (slot_count == 0 || slot_count > 1 << 20 || mapping_count > 1 << 20)
        return Status::bad_argument;
    const std::uint64_t slots_bytes = align_up(slot_count * sizeof(CapSlot), page_size);
    const std::uint64_t records_bytes = align_up(mapping_count * sizeof(Mapping), page_size);
    const std::uint64_t fixed = domain_overhead + slots_bytes + records_bytes;
    if (size < fixed) return Status::no_memory;
    auto* d = new (direct<void>(base)) Domain{};
    const HostPhys root = base + page_size;
    std::uint64_t* entries = direct<std::uint64_t>(root);
    for (unsigned i = 0; i < 512; ++i) entries[i] = 0;
    kernel_tables::share(entries);
    d->cr3 = root.value();
    d->slots = direct<CapSlot>(base + domain_overhead);
    d->slot_count = static_cast<std::uint32_t>(slot_count);
    for (std::uint64_t i = 0; i < slot_count; ++i) new (&d->slots[i]) CapSlot{};
    d->init_mappings(false, root, direct<Mapping>(base + domain_overhead + slots_bytes),
                     mapping_count, base + fixed, base + size);
    return d;
}

CapSlot* Domain::any_slot() {
    for (; search_hint < slot_count; ++search_hint)
        if (slots[search_hint].type != ObjectType::none) return &slots[search_hint];
    return nullptr;
}

void Domain::kill_threads() {
    for (Thread& t : threads) {
        run_on(*t.core, [&t] {
            if (t.state == ContextState::dead) return;
            t.die();
        });
    }
}

void Domain::destroy() {
    kill_threads();
    while (!threads.empty()) {
        threads.front().domain = nullptr;
        threads.pop_front();
    }
    // No core may keep these page tables loaded.
    for (unsigned i = 0; i < Core::count(); ++i) {
        if ((cores >> i & 1) == 0) continue;
        Core& core = *Core::by_id(i);
        run_on(core, [&core, this] {
            if (core.cr3 != cr3) return;
            core.cr3 = kernel_tables::root().value();
            cpu::write_cr3(core.cr3);
        });
    }
}

}  // namespace margay
