#include "ukernel/object/domain.hpp"

#include <new>

#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/core/core.hpp"
#include "ukernel/core/feature.hpp"
#include "ukernel/memory/kernel_tables.hpp"
#include "ukernel/memory/pcid.hpp"

namespace margay {

namespace {
PcidPool pcids;
}

Result<Domain*> Domain::create(HostPhys base, std::uint64_t size, std::uint64_t slot_count,
                               std::uint64_t mapping_count) {
    const std::uint64_t records_bytes = align_up(mapping_count * sizeof(Mapping), page_size);
    const std::uint64_t fixed = zeroed_bytes(slot_count) + records_bytes;
    if (size < fixed) return Status::no_memory;
    auto* d = new (direct<void>(base)) Domain{};
    const HostPhys root = base + page_size;
    kernel_tables::share(direct<std::uint64_t>(root));
    d->cr3 = PcidPool::value(root, features().pcid ? pcids.take() : 0);
    d->slots = direct<CapSlot>(base + domain_overhead);
    d->slot_count = static_cast<std::uint32_t>(slot_count);
    d->init_mappings(Kind::native, root, direct<Mapping>(base + zeroed_bytes(slot_count)),
                     mapping_count, base + fixed, base + size);
    return d;
}

// A thread can itself be destroyed meanwhile, but only on its own core: there it is taken out.
bool Domain::end_thread() {
    Core* core = nullptr;
    {
        const SpinGuard lock{guard};
        if (threads.empty()) return false;
        core = threads.front().core;
    }
    run_on(*core, [this, core] {
        Thread* t = nullptr;
        {
            const SpinGuard lock{guard};
            if (threads.empty() || threads.front().core != core) return;
            t = &threads.front();
            threads.pop_front();
            t->domain = nullptr;
        }
        if (t->state != ContextState::dead) t->die();
    });
    return true;
}

CapSlot* Domain::any_slot(unsigned count, bool& more) {
    for (; searched < slot_count; ++searched, --count) {
        CapSlot& s = slots[searched];
        if (type_of(s) != ObjectType::none || s.removal != Removal::none) return &s;
        more = count == 0;
        if (more) return nullptr;
    }
    return nullptr;
}

void Domain::destroy() {
    // No core may keep these page tables loaded.
    cores.for_each([this](unsigned id) {
        Core& core = *Core::by_id(id);
        run_on(core, [&core, this] {
            if (core.cr3 == cr3) {
                core.cr3 = kernel_tables::root().value();
                cpu::write_cr3(core.cr3);
            }
            // Without identifiers, loading other tables did it.
            if (features().pcid) Core::flush_here();
        });
    });
    pcids.give_back(PcidPool::pcid_of(cr3));
}

}  // namespace margay
