#include "ukernel/object/space.hpp"

#include <new>

#include "ukernel/core/core.hpp"
#include "ukernel/object/thread.hpp"
#include "ukernel/object/vcpu.hpp"

namespace margay {

Result<Space*> Space::create(HostPhys base, std::uint64_t size, std::uint64_t mapping_count) {
    const std::uint64_t records_bytes = align_up(mapping_count * sizeof(Mapping), page_size);
    // Object, permissions, root table, records; then the pool.
    constexpr std::uint64_t root_offset = page_size + PermissionMap::bytes;
    constexpr std::uint64_t records_offset = root_offset + page_size;
    const std::uint64_t fixed = records_offset + records_bytes;
    if (size < fixed) return Status::no_memory;
    auto* s = new (direct<void>(base)) Space{};
    s->permissions.init(base + page_size);
    const HostPhys root = base + root_offset;
    std::uint64_t* entries = direct<std::uint64_t>(root);
    for (unsigned i = 0; i < 512; ++i) entries[i] = 0;
    s->init_mappings(Kind::guest, root, direct<Mapping>(base + records_offset), mapping_count,
                     base + fixed, base + size);
    return s;
}

bool Space::end_vcpu() {
    Core* core = nullptr;
    {
        const SpinGuard lock{guard};
        if (vcpus.empty()) return false;
        core = vcpus.front().core;
    }
    run_on(*core, [this, core] {
        Vcpu* v = nullptr;
        {
            const SpinGuard lock{guard};
            if (vcpus.empty() || vcpus.front().core != core) return;
            v = &vcpus.front();
            vcpus.pop_front();
            v->space = nullptr;
        }
        v->stop(nullptr);
    });
    return true;
}

}  // namespace margay
