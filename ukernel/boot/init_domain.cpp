#include "ukernel/boot/init_domain.hpp"

#include <cstring>
#include <new>

#include "proto/boot_info.hpp"
#include "support/elf.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/iommu/iommu.hpp"
#include "ukernel/core/core.hpp"
#include "ukernel/core/feature.hpp"
#include "ukernel/debug/assert.hpp"
#include "ukernel/debug/console.hpp"
#include "ukernel/debug/report.hpp"
#include "ukernel/memory/boot_allocator.hpp"
#include "ukernel/object/domain.hpp"
#include "ukernel/sched/scheduler.hpp"

namespace margay {

namespace {

constexpr std::uint64_t pool_bytes = 2 << 20;
constexpr std::uint64_t stack_bytes = 256 << 10;
constexpr std::uint64_t stack_top = 0x2000'0000;
constexpr unsigned init_priority = 32;
constexpr std::uint64_t image_lowest = 0x400000;

[[noreturn]] void refuse(const char* why) {
    log("margay: cannot start init: {}\n", why);
    stop_node(why);
}

// A boot capability has no parent and no storage that anybody could take back.
void place(Domain& d, Slot number, ObjectType type, void* object) {
    CapSlot& s = *new (&d.slots[number]) CapSlot{};
    s.domain = &d;
    s.object = object;
    s.rights = right::all;
    s.is_copy = true;
    s.type = type;
}

void place_memory(Domain& d, Slot number, MemoryType type, std::uint64_t base, std::uint64_t size,
                  std::uint8_t rights) {
    CapSlot& s = *new (&d.slots[number]) CapSlot{};
    s.domain = &d;
    s.base = base;
    s.size = size;
    s.memory = type;
    s.rights = rights;
    s.type = ObjectType::memory;
}

void map(Domain& d, std::uint64_t address, HostPhys physical, std::uint64_t size,
         std::uint64_t flags) {
    const Status s = d.tables().map(address, physical, size, flags | pte::user);
    MARGAY_EXPECT(s == Status::ok);
}

std::uint64_t load_image(Domain& d, const BootModule& m) {
    const auto* image = direct<std::uint8_t>(m.begin);
    if (const char* wrong = check_elf(image, m.end - m.begin, image_lowest, boot_info_address))
        refuse(wrong);
    const auto& h = *reinterpret_cast<const ElfHeader*>(image);
    const auto* s = reinterpret_cast<const ElfSegment*>(image + h.program_headers);
    for (unsigned i = 0; i < h.program_header_count; ++i, ++s) {
        if (s->type != 1 || s->memory_size == 0) continue;
        const std::uint64_t bytes = align_up(s->memory_size, page_size);
        const HostPhys at = boot_allocator::allocate(bytes);
        std::memcpy(direct<void>(at), image + s->offset, s->file_size);
        std::uint64_t flags = 0;
        if (s->flags & 2) flags |= pte::write;
        if (!(s->flags & 1)) flags |= pte::no_execute;
        map(d, s->address, at, bytes, flags);
        if (d.symbols == 0) d.symbols = find_symbols(*s, image, image_lowest, boot_info_address);
    }
    return h.entry;
}

class ExtentWriter {
  public:
    ExtentWriter(Domain& d, BootInfo& info) : domain_{d}, info_{info} {}

    void add(Range r, ExtentUse use, MemoryType type, std::uint8_t rights, const char* name = "",
             std::uint64_t length = 0, std::uint32_t node = 0) {
        if (r.size() == 0) return;
        if (info_.extents == boot_extents) {
            ++left_out;
            return;
        }
        const Slot slot = init_slot::first_extent + info_.extents;
        place_memory(domain_, slot, type, r.begin.value(), r.size(), rights);
        BootExtent& e = info_.extent[info_.extents++];
        e.base = r.begin.value();
        e.size = r.size();
        e.length = length != 0 ? length : r.size();
        e.use = use;
        e.slot = slot;
        e.node = node;
        std::memcpy(e.name, name, std::strlen(name) + 1);
    }

    unsigned left_out = 0;  // there is no room for more

  private:
    Domain& domain_;
    BootInfo& info_;
};

void grant_memory(const BootData& boot, const acpi::Platform& platform, const MemoryMap& memory,
                  const RangeList& free_ram, ExtentWriter& out) {
    for (unsigned i = 0; i < boot.module_count; ++i) {
        const BootModule& m = boot.modules[i];
        if (m.begin.value() % page_size != 0) refuse("a boot module is not page-aligned");
        out.add({m.begin, HostPhys{align_up(m.end.value(), page_size)}}, ExtentUse::module,
                MemoryType::ram, right::read | right::execute | right::derive, m.name,
                m.end - m.begin);
    }
    for (const Range& r : free_ram) {
        for (HostPhys at = r.begin; at < r.end;) {
            HostPhys end = r.end;
            const std::uint32_t node = platform.node_of(at, end);
            out.add({at, end}, ExtentUse::free_ram, MemoryType::ram, right::all, "", 0, node);
            at = end;
        }
    }
    // Everything that is no RAM is device memory, except the interrupt controllers and IOMMUs.
    static RangeList devices;  // too large for the stack
    devices = {};
    devices.add({HostPhys{0}, HostPhys{1ull << features().physical_bits}});
    for (const MemoryRange& r : memory) {
        if (r.kind == RamKind::reserved) continue;
        devices.remove({r.begin, r.end});
        if (r.kind == RamKind::firmware)
            out.add({r.begin, r.end}, ExtentUse::firmware, MemoryType::ram, right::read);
    }
    devices.remove({HostPhys{0}, HostPhys{0x100000}});
    devices.remove({HostPhys{0xfec00000}, HostPhys{0xff000000}});
    if (const iommu::Driver* d = iommu::driver())
        for (unsigned i = 0; i < d->windows(); ++i) {
            std::uint64_t bytes = 0;
            const HostPhys registers = d->window(i, bytes);
            devices.remove({registers, registers + bytes});
        }
    for (const Range& r : devices) out.add(r, ExtentUse::device, MemoryType::device, right::all);
}

}  // namespace

void create_init(const BootData& boot, const acpi::Platform& platform, const MemoryMap& memory,
                 RangeList& free_ram, HostPhys boot_begin) {
    const BootModule* image = nullptr;
    for (unsigned i = 0; i < boot.module_count; ++i)
        if (std::string_view{boot.modules[i].name} == "init") image = &boot.modules[i];
    if (image == nullptr) refuse("there is no boot module named init");

    const std::uint64_t bytes = domain_overhead + init_slots * slot_bytes + page_size +
                                align_up(init_mappings * mapping_bytes, page_size) + pool_bytes;
    const Result<Domain*> made =
        Domain::create(boot_allocator::allocate(bytes), bytes, init_slots, init_mappings);
    MARGAY_EXPECT(made);
    Domain& d = **made;
    std::memcpy(d.name, "init", 5);
    d.is_supervisor = true;
    Core& core = Core::here();

    const std::uint64_t entry = load_image(d, *image);
    const HostPhys stack = boot_allocator::allocate(stack_bytes);
    map(d, stack_top - stack_bytes, stack, stack_bytes, pte::write | pte::no_execute);
    const HostPhys info_at = boot_allocator::allocate(boot_info_bytes);
    map(d, boot_info_address, info_at, boot_info_bytes, pte::no_execute);
    const HostPhys thread_at = boot_allocator::allocate(storage_thread);
    auto* thread = new (direct<void>(thread_at))
        Thread{d, core, init_priority, entry, stack_top - 16, boot_info_address};

    auto& info = *direct<BootInfo>(info_at);
    info.magic = boot_info_magic;
    info.abi = abi_version;
    info.cores = Core::count();
    info.tsc_khz = features().tsc_khz;
    info.iommu = iommu::driver() != nullptr ? iommu::driver()->kind() : 0;
    info.remaps_interrupts = iommu::remaps_interrupts() ? 1 : 0;
    static_assert(boot_firmware_memory >= iommu::most_firmware_memory);
    for (const iommu::FirmwareMemory& m : iommu::firmware_memory())
        info.firmware_memory[info.firmware_memories++] = {m.begin.value(), m.end - m.begin,
                                                          m.function, 0};
    info.virtualization = core.virtualization ? 1 : 0;
    std::memcpy(info.rsdp, boot.rsdp, sizeof(info.rsdp));
    std::memcpy(info.processor, features().name, sizeof(info.processor));
    std::memcpy(info.command_line, boot.command_line, sizeof(info.command_line));

    place(d, init_slot::domain, ObjectType::domain, &d);
    place(d, init_slot::thread, ObjectType::thread, thread);
    place(d, init_slot::irq_control, ObjectType::irq_control, nullptr);
    place(d, init_slot::device_control, ObjectType::device_control, nullptr);
    place_memory(d, init_slot::ports, MemoryType::ports, 0, 0x10000, right::all);
    for (unsigned i = 0; i < Core::count(); ++i)
        place(d, init_slot::first_core + i, ObjectType::core,
              reinterpret_cast<void*>(std::uint64_t{i}));

    free_ram.remove({boot_begin, boot_allocator::finish()});
    ExtentWriter out{d, info};
    grant_memory(boot, platform, memory, free_ram, out);
    if (out.left_out != 0)
        log("margay: {} ranges of memory are not used: there are too many\n", out.left_out);
    scheduler::make_ready(*thread);
}

}  // namespace margay
