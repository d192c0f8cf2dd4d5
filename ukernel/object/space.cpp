#include "ukernel/object/space.hpp"

#include <new>

#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/core/core.hpp"
#include "ukernel/object/thread.hpp"
#include "ukernel/object/vcpu.hpp"

namespace margay {

Result<Space*> Space::create(HostPhys base, std::uint64_t size, std::uint64_t mapping_count) {
    if (mapping_count > 1 << 20) return Status::bad_argument;
    const std::uint64_t records_bytes = align_up(mapping_count * sizeof(Mapping), page_size);
    const std::uint64_t fixed = 7 * page_size + records_bytes;
    if (size < fixed) return Status::no_memory;
    auto* s = new (direct<void>(base)) Space{};
    s->io_phys = base + page_size;
    s->msr_phys = base + 4 * page_size;
    s->io = direct<IoBitmap>(s->io_phys);
    s->msr = direct<MsrBitmap>(s->msr_phys);
    s->io->intercept_all();
    s->msr->intercept_all();
    // What VMLOAD and VMSAVE switch is the guest's own.
    for (const std::uint32_t index :
         {cpu::msr::fs_base, cpu::msr::gs_base, cpu::msr::kernel_gs_base, cpu::msr::star,
          cpu::msr::lstar, cpu::msr::cstar, cpu::msr::sfmask, 0x174u, 0x175u, 0x176u})
        s->msr->allow(index, true, true);
    const HostPhys root = base + 6 * page_size;
    std::uint64_t* entries = direct<std::uint64_t>(root);
    for (unsigned i = 0; i < 512; ++i) entries[i] = 0;
    s->init_mappings(true, root, direct<Mapping>(base + 7 * page_size), mapping_count, base + fixed,
                     base + size);
    return s;
}

void Space::destroy() {
    for (unsigned i = 0; i < Core::count(); ++i) {
        if ((cores >> i & 1) == 0) continue;
        Core& core = *Core::by_id(i);
        run_on(core, [&core, this] {
            for (auto it = core.contexts.begin(); it != core.contexts.end();) {
                Context& c = *it++;
                if (c.is_thread() || static_cast<Vcpu&>(c).space != this) continue;
                auto& v = static_cast<Vcpu&>(c);
                release_servant(v);
                v.stop(nullptr);
                v.space = nullptr;
            }
        });
    }
}

}  // namespace margay
