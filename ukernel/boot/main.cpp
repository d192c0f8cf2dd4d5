// The kernel's start: from the boot loader's state to init's first instruction.
#include <new>

#include "support/options.hpp"
#include "ukernel/arch/x86_64/acpi.hpp"
#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/arch/x86_64/clock.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/io_apic.hpp"
#include "ukernel/arch/x86_64/iommu/iommu.hpp"
#include "ukernel/arch/x86_64/mitigation.hpp"
#include "ukernel/arch/x86_64/pic.hpp"
#include "ukernel/arch/x86_64/smp.hpp"
#include "ukernel/boot/init_domain.hpp"
#include "ukernel/boot/multiboot2.hpp"
#include "ukernel/boot/range_list.hpp"
#include "ukernel/core/feature.hpp"
#include "ukernel/debug/console.hpp"
#include "ukernel/debug/report.hpp"
#include "ukernel/memory/boot_allocator.hpp"
#include "ukernel/memory/direct_map.hpp"
#include "ukernel/memory/kernel_tables.hpp"
#include "ukernel/sched/scheduler.hpp"

extern "C" char image_begin[], image_end[];
extern "C" {
using Constructor = void (*)();
extern Constructor init_array_begin[], init_array_end[];
}

namespace margay {

namespace {

BootData boot;
MemoryMap memory;
acpi::Platform platform;
RangeList free_ram;
HostPhys boot_begin;  // where the boot allocator started

[[noreturn]] void refuse(const char* why) {
    log("margay: cannot start: {}\n", why);
    stop_node(why);
}

// The boot tables map 4 GiB; the kernel's own data stay below.
constexpr HostPhys boot_reach{1ull << 32};
constexpr HostPhys low_memory_end{0x100000};

void find_free_ram() {
    const std::uint64_t reach = 1ull << features().physical_bits;
    memory.build(boot.memory, HostPhys{reach < direct_map_limit ? reach : direct_map_limit});
    if (memory.beyond_end() != 0)
        log("margay: {} MiB of RAM lie beyond what the kernel can map\n",
            memory.beyond_end() >> 20);
    if (memory.without_room() != 0)
        log("margay: {} MiB of RAM are not used: firmware's memory map has more than {} ranges\n",
            memory.without_room() >> 20, MemoryMap::capacity);
    if (boot.modules_left_out != 0)
        log("margay: {} boot modules are left out: there are more than {}\n", boot.modules_left_out,
            BootData::max_modules);
    for (const MemoryRange& r : memory)
        if (r.kind == RamKind::free && !free_ram.add({r.begin, r.end}))
            log("margay: {} MiB of RAM are not used: too many ranges\n", (r.end - r.begin) >> 20);
    // Low memory: BIOS data and the start-up page of other cores.
    free_ram.remove({HostPhys{0}, low_memory_end});
    free_ram.remove({HostPhys{reinterpret_cast<std::uint64_t>(image_begin)},
                     HostPhys{align_up(reinterpret_cast<std::uint64_t>(image_end), 4096)}});
    for (unsigned i = 0; i < boot.module_count; ++i)
        free_ram.remove(
            {boot.modules[i].begin, HostPhys{align_up(boot.modules[i].end.value(), 4096)}});
}

// A page in which other cores can start in real mode. Boot loaders put modules and their information
// there too, on UEFI above all. 0: none is free.
HostPhys find_trampoline() {
    RangeList low;
    for (const MemoryRange& r : memory)
        if (r.kind == RamKind::free && r.begin < low_memory_end) low.add({r.begin, r.end});
    low.remove({HostPhys{0}, HostPhys{0x1000}});  // interrupt vectors and BIOS data
    low.remove({HostPhys{0xa0000}, HostPhys{~0ull}});
    low.remove({boot.begin, boot.end});
    for (unsigned i = 0; i < boot.module_count; ++i)
        low.remove({boot.modules[i].begin, HostPhys{align_up(boot.modules[i].end.value(), 4096)}});
    for (const Range& r : low)
        if (r.size() >= 4096) return r.begin;
    return HostPhys{0};
}

void start_boot_allocator() {
    Range best{};
    for (const Range& r : free_ram) {
        if (r.begin >= boot_reach) continue;
        const Range reachable{r.begin, r.end < boot_reach ? r.end : boot_reach};
        if (reachable.size() > best.size()) best = reachable;
    }
    // The boot information must survive until it is copied.
    if (best.begin < boot.end && boot.begin < best.end) {
        const Range low{best.begin, boot.begin > best.begin ? boot.begin : best.begin};
        const Range high{boot.end, best.end};
        best = high.size() > low.size() ? high : low;
    }
    if (best.size() < 8 << 20) refuse("less than 8 MiB of usable RAM below 4 GiB");
    boot_allocator::init(best.begin, best.end);
    boot_begin = best.begin;
}

const std::uint8_t* view(HostPhys begin, std::uint64_t bytes) {
    if (bytes == 0 || begin.value() + bytes < begin.value()) return nullptr;
    if (memory.is_free(begin, begin + bytes)) return direct<std::uint8_t>(begin);
    return static_cast<const std::uint8_t*>(kernel_tables::map_firmware(begin, bytes));
}

void find_platform() {
    if (!acpi::parse(boot.rsdp, view, platform)) {
        log("margay: no usable ACPI tables: one core, no interrupt lines\n");
        return;
    }
    if (platform.bad_checksums != 0)
        log("margay: {} ACPI tables have a wrong checksum\n", platform.bad_checksums);
    if (platform.cores_left_out != 0)
        log("margay: {} cores are left out: this build serves {}\n", platform.cores_left_out,
            max_cores);
    if (platform.others_left_out != 0)
        log("margay: {} entries of ACPI tables are left out: more of a kind than this build "
            "expects\n",
            platform.others_left_out);
    for (unsigned i = 0; i < platform.io_apic_count; ++i)
        io_apic::add(platform.io_apics[i].base, platform.io_apics[i].first_gsi,
                     platform.io_apics[i].id);
    for (unsigned i = 0; i < platform.override_count; ++i) {
        const acpi::LineOverride& o = platform.overrides[i];
        io_apic::set_trigger(o.gsi, o.active_low, o.level);
    }
}

}  // namespace

extern "C" [[noreturn]] void kernel_main(std::uint32_t magic, std::uint32_t info) {
    for (Constructor* c = init_array_begin; c != init_array_end; ++c) (*c)();
    console::init();
    if (magic != multiboot2_magic) refuse("not loaded by a Multiboot2 boot loader");
    if (!parse_multiboot2(direct<std::uint8_t>(HostPhys{info}), HostPhys{info}, boot))
        refuse("the boot loader's information is malformed");
    // Where reports go, if they are not to be among what COM1 shows.
    if (const auto port = find_number(boot.command_line, "log"))
        console::init(static_cast<std::uint16_t>(*port));
    detect_features();
    init_mitigations(boot.command_line);
    find_free_ram();
    start_boot_allocator();
    kernel_tables::build(memory);
    find_platform();
    pic::disable();
    apic::map();
    iommu::start(platform, memory);
    set_tsc_khz(measure_tsc_khz(platform.pm_timer_port));
    if (!features().constant_tsc)
        log("margay: the processor does not promise a constant time-stamp counter\n");
    smp::start_this_core(platform);
    if (Core::here().apic_id > 254)
        log("margay: the boot core has APIC id {}: no interrupt lines\n", Core::here().apic_id);
    apic::calibrate(features().tsc_khz);
    iommu::start_faults(Core::here().apic_id);
    const HostPhys trampoline = find_trampoline();
    if (trampoline.value() != 0)
        smp::start_other_cores(platform, trampoline);
    else if (platform.core_count > 1)
        log("margay: no free page below 640 KiB: the other cores cannot be started\n");

    create_init(boot, platform, memory, free_ram, boot_begin);
    scheduler::leave();
}

}  // namespace margay
