// map: an extent, or a part of one, into a Domain, a Space or a DmaSpace.
#include "ukernel/arch/x86_64/iommu/iommu.hpp"
#include "ukernel/core/epoch.hpp"
#include "ukernel/object/capability.hpp"
#include "ukernel/object/dma_space.hpp"
#include "ukernel/object/space.hpp"
#include "ukernel/syscall/system_call.hpp"
#include "ukernel/tree/derivation.hpp"

namespace margay {

namespace {

struct Place {
    std::uint64_t address, offset, size, rights;
};

Status check_rights(const CapSlot& memory, const Place& p) {
    using namespace map_right;
    if ((p.rights & read) == 0 || (p.rights & ~(read | write | execute | uncached)) != 0)
        return Status::bad_argument;
    if ((memory.rights & right::read) == 0) return Status::no_right;
    if ((p.rights & write) != 0 && (memory.rights & right::write) == 0) return Status::no_right;
    if ((p.rights & execute) != 0 && (memory.rights & right::execute) == 0) return Status::no_right;
    return Status::ok;
}

std::uint64_t leaf_flags(const CapSlot& memory, bool guest, std::uint64_t rights) {
    std::uint64_t flags = pte::user;
    if (rights & map_right::write) flags |= pte::write;
    if (!(rights & map_right::execute)) flags |= pte::no_execute;
    if ((rights & map_right::uncached) || (memory.memory == MemoryType::device && !guest))
        flags |= pte::uncached | pte::write_through;
    return flags;
}

Status enter_dma(MapTarget& target, const CapSlot& memory, const Place& p) {
    if (memory.memory != MemoryType::ram || (p.rights & ~(map_right::read | map_right::write)) != 0)
        return Status::bad_argument;
    if (p.address < iommu::messages_end && p.address + p.size > iommu::messages_begin)
        return Status::bad_argument;
    const HostPhys physical{memory.base + p.offset};
    const bool writes = (p.rights & map_right::write) != 0;
    return target.with_dma_tables(iommu::dma_format(), [&](auto format, auto tables) {
        if (tables.leaves(p.address, physical, p.size, max_map_leaves + 1) > max_map_leaves)
            return Status::bad_argument;
        return tables.map(p.address, physical, p.size, format.read | (writes ? format.write : 0));
    });
}

Status enter_ports(Space& space, const CapSlot& memory, const Place& p) {
    // A port is at the same number in the guest.
    if (p.address != memory.base + p.offset) return Status::bad_argument;
    // One mapping per port: removing one must not close another.
    for (std::uint64_t port = p.address; port < p.address + p.size; ++port)
        if (!space.permissions.intercepts_port(port)) return Status::occupied;
    space.permissions.allow_ports(p.address, p.size);
    return Status::ok;
}

Status enter_pages(MapTarget& target, const CapSlot& memory, const Place& p) {
    const bool native = !target.is_guest() && !target.is_dma();
    const std::uint64_t low = native ? user_begin : 0;
    const std::uint64_t high = native            ? user_end
                               : target.is_dma() ? iommu::dma_format().end
                                                 : guest_end;
    if (!is_aligned(p.address | p.offset | p.size, page_size) || p.address < low ||
        p.address >= high || p.size > high - p.address)
        return Status::bad_argument;
    if (native && (p.rights & map_right::write) && (p.rights & map_right::execute))
        return Status::bad_argument;
    if (target.is_dma()) return enter_dma(target, memory, p);
    auto tables = target.tables();
    const HostPhys physical{memory.base + p.offset};
    if (tables.leaves(p.address, physical, p.size, max_map_leaves + 1) > max_map_leaves)
        return Status::bad_argument;
    return tables.map(p.address, physical, p.size, leaf_flags(memory, target.is_guest(), p.rights));
}

// What was entered before it failed is out again, but a TLB of another core, or of the IOMMU, may have seen it.
void forget_attempt(MapTarget& target) {
    target.entries_removed();
    // Before anything is flushed: what others release meanwhile is not among them.
    FramePool::Released frames;
    {
        const SpinGuard lock{target.guard};
        frames = target.pool().take_released();
    }
    if (target.is_dma()) iommu::flush({&static_cast<DmaSpace&>(target).domain, 1});
    epoch::flush_translations(target.cores);
    const SpinGuard lock{target.guard};
    target.pool().give_back(frames);
}

}  // namespace

Status map_memory(Thread& t, EstateLock& held) {
    const Result<CapSlot*> found =
        find_capability(t, t.gpr[gpr_rdi] & 0xffff'ffff, ObjectType::memory, 0);
    if (!found) return found.status();
    CapSlot& memory = **found;
    const Result<CapSlot*> to =
        find_capability(t, t.gpr[gpr_rdi] >> 32, ObjectType::none, right::map);
    if (!to) return to.status();
    const ObjectType type = type_of(**to);
    if (type != ObjectType::space && type != ObjectType::domain && type != ObjectType::dma_space)
        return Status::wrong_type;
    MapTarget& target = type == ObjectType::space ? static_cast<MapTarget&>(object_of<Space>(**to))
                        : type == ObjectType::domain
                            ? static_cast<MapTarget&>(object_of<Domain>(**to))
                            : static_cast<MapTarget&>(object_of<DmaSpace>(**to));
    const Place p{t.gpr[gpr_rsi], t.gpr[gpr_rdx], t.gpr[gpr_r8], t.gpr[gpr_r9]};
    const Status rights = check_rights(memory, p);
    if (rights != Status::ok) return rights;
    if (p.size == 0 || p.offset > memory.size || p.size > memory.size - p.offset)
        return Status::bad_argument;
    const bool ports = memory.memory == MemoryType::ports;
    if (ports && !target.is_guest()) return Status::bad_argument;
    if (!held.want(memory.estate)) return Status::ok;

    Status s = derivation::can_attach(memory);
    if (s == Status::ok) s = take_extent(memory, ExtentState::mapped);
    if (s != Status::ok) return s;
    {
        const SpinGuard lock{target.guard};
        Mapping* m = target.take_record();
        s = m == nullptr ? Status::no_memory
            : ports      ? enter_ports(static_cast<Space&>(target), memory, p)
                         : enter_pages(target, memory, p);
        if (s == Status::ok) {
            m->memory = memory.memory;
            m->address = p.address;
            m->size = p.size;
            derivation::attach(*m, memory);
            target.enter_record(*m);
        } else if (m != nullptr) {
            target.release_record(*m);
        }
    }
    if (s == Status::ok) {
        if (target.is_dma()) iommu::entries_added(static_cast<DmaSpace&>(target).domain);
        return s;
    }
    if (s == Status::occupied || s == Status::no_memory) {
        if (!ports) forget_attempt(target);
    }
    release_extent(memory);
    return s;
}

}  // namespace margay
