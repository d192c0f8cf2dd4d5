// The kernel's start: from the boot loader's state to init's first instruction.
#include <new>

#include "support/options.hpp"
#include "ukernel/arch/x86_64/acpi.hpp"
#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/arch/x86_64/clock.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
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
    for (unsigned i = 0; i < boot.ram_count; ++i)
        if (boot.ram[i].kind == RamKind::free) free_ram.add({boot.ram[i].begin, boot.ram[i].end});
    // Low memory: BIOS data and the start-up page of other cores.
    free_ram.remove({HostPhys{0}, low_memory_end});
    free_ram.remove({HostPhys{reinterpret_cast<std::uint64_t>(image_begin)},
                     HostPhys{align_up(reinterpret_cast<std::uint64_t>(image_end), 4096)}});
    for (unsigned i = 0; i < boot.module_count; ++i)
        free_ram.remove(
            {boot.modules[i].begin, HostPhys{align_up(boot.modules[i].end.value(), 4096)}});
    for (unsigned i = 0; i < boot.ram_count; ++i)
        if (boot.ram[i].kind == RamKind::firmware)
            free_ram.remove({boot.ram[i].begin, boot.ram[i].end});
}

// A page in which other cores can start in real mode. Boot loaders put modules and their information
// there too, on UEFI above all. 0: none is free.
HostPhys find_trampoline() {
    RangeList low;
    for (unsigned i = 0; i < boot.ram_count; ++i)
        if (boot.ram[i].kind == RamKind::free) low.add({boot.ram[i].begin, boot.ram[i].end});
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
    // The boot information must survive until it is copied, and the RSDP in it a little longer.
    if (best.begin < boot.end && boot.begin < best.end) {
        const Range low{best.begin, boot.begin > best.begin ? boot.begin : best.begin};
        const Range high{boot.end, best.end};
        best = high.size() > low.size() ? high : low;
    }
    if (best.size() < 8 << 20) refuse("less than 8 MiB of usable RAM below 4 GiB");
    boot_allocator::init(best.begin, best.end);
    boot_begin = best.begin;
}

void build_kernel_tables() {
    static kernel_tables::Ram ram[BootData::max_ram];
    for (unsigned i = 0; i < boot.ram_count; ++i) ram[i] = {boot.ram[i].begin, boot.ram[i].end};
    kernel_tables::build(ram, boot.ram_count);
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
    find_free_ram();
    start_boot_allocator();
    build_kernel_tables();

    static acpi::Platform platform;
    if (!acpi::parse(boot.rsdp, platform) || platform.cores == 0) {
        log("margay: no usable ACPI tables: one core, no interrupt lines\n");
        platform.cores = 1;
        platform.apic_ids[0] = 0;
    }
    pic::disable();
    apic::map(platform.local_apic);
    set_tsc_khz(measure_tsc_khz(platform.pm_timer_port));
    smp::start_this_core(platform);
    apic::calibrate(features().tsc_khz);
    const HostPhys trampoline = find_trampoline();
    if (trampoline.value() != 0)
        smp::start_other_cores(platform, trampoline);
    else if (platform.cores > 1)
        log("margay: no free page below 640 KiB: the other cores cannot be started\n");

    create_init(boot, free_ram, boot_begin);
    scheduler::leave();
}

}  // namespace margay
