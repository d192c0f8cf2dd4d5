#include "ukernel/object/space.hpp"

#include <new>

#include "ukernel/core/core.hpp"
#include "ukernel/object/thread.hpp"
#include "ukernel/object/vcpu.hpp"

namespace margay {

Result<Space*> Space::create(HostPhys base, std::uint64_t size, std::uint64_t mapping_count) {
    if (mapping_count > 1 << 20) return Status::bad_argument;
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
    s->init_mappings(true, root, direct<Mapping>(base + records_offset), mapping_count,
                     base + fixed, base + size);
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
