#include "ukernel/arch/x86_64/smp.hpp"

#include <cstring>
#include <new>

#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/descriptors.hpp"
#include "ukernel/arch/x86_64/machine_check.hpp"
#include "ukernel/arch/x86_64/mitigation.hpp"
#include "ukernel/arch/x86_64/tsc_offset.hpp"
#include "ukernel/core/cores.hpp"
#include "ukernel/core/feature.hpp"
#include "ukernel/debug/console.hpp"
#include "ukernel/memory/boot_allocator.hpp"
#include "ukernel/memory/direct_map.hpp"
#include "ukernel/memory/kernel_tables.hpp"
#include "ukernel/memory/page_table.hpp"
#include "ukernel/sched/scheduler.hpp"

extern "C" char trampoline_begin[], trampoline_end[], trampoline_parameters[];

namespace margay::smp {

namespace {

constexpr std::uint64_t stack_bytes = 16384;
constexpr std::uint64_t ist_bytes = 8192;
constexpr std::uint64_t core_bytes = 64 << 10;  // what one takes at most, see allocate_core
constexpr std::uint64_t left_for_init = 8 << 20;

struct PerCore {
    Core core;
    Descriptors descriptors;
    std::uint64_t ist_stacks[3];
    TscExchange exchange;  // of the core that starts with the one that starts it
    HostPhys backend_memory;
    std::uint32_t poked;  // where Core::apic_poke points when nothing needs it
};

static_assert(sizeof(PerCore) + stack_bytes + 3 * ist_bytes +
                  (BackendCore::pages + 1) * page_size <=
              core_bytes);

PerCore& allocate_core(unsigned apic_id) {
    auto* p = new (direct<void>(boot_allocator::allocate(sizeof(PerCore)))) PerCore{};
    Core& c = p->core;
    c.self = &c;
    c.apic_id = apic_id;
    c.cr3 = kernel_tables::root().value();
    c.quantum_end = c.armed_for = no_deadline;
    c.stack_top =
        reinterpret_cast<std::uint64_t>(direct<char>(boot_allocator::allocate(stack_bytes))) +
        stack_bytes;
    for (std::uint64_t& stack : p->ist_stacks)
        stack = reinterpret_cast<std::uint64_t>(direct<char>(boot_allocator::allocate(ist_bytes))) +
                ist_bytes;
    p->backend_memory = boot_allocator::allocate(BackendCore::pages * page_size);
    return *p;
}

void set_up_core(PerCore& p) {
    load_descriptors(p.descriptors, p.core, p.ist_stacks);
    std::uint64_t cr4 = cpu::read_cr4() | cpu::cr4::pge | cpu::cr4::osfxsr;
    if (features().smep) cr4 |= cpu::cr4::smep;
    if (features().smap) cr4 |= cpu::cr4::smap;
    if (features().umip) cr4 |= cpu::cr4::umip;
    if (features().pcid) cr4 |= cpu::cr4::pcide;  // the loaded tables have number 0, as they must
    if (features().xsave.supported != 0) cr4 |= cpu::cr4::osxsave;
    cpu::write_cr4(cr4);
    // Kernel and servers use no floating point: EM and TS, of which AVX heeds only the second, make every
    // attempt a fault, so the registers always belong to the guest that used them last.
    cpu::write_cr0((cpu::read_cr0() & ~cpu::cr0::am) | cpu::cr0::ts | cpu::cr0::em | cpu::cr0::mp |
                   cpu::cr0::wp);
    machine_check::enable();
    enable_mitigations();
    apic::enable();
    p.core.virtualization = backend::enable(p.core, p.backend_memory);
    p.core.apic_poke = apic::poke_address(&p.poked);
    if (apic::is_x2apic()) p.core.flags |= core_flag::x2apic;
    if (features().pcid) p.core.flags |= core_flag::pcid;
    p.core.online = true;
}

void wait_ms(unsigned ms) {
    const std::uint64_t end = cpu::rdtsc() + features().tsc_khz * ms;
    while (cpu::rdtsc() < end) cpu::pause();
}

[[noreturn]] void other_core(PerCore* p) {
    set_up_core(*p);
    p->exchange.answer(cpu::rdtsc, cpu::pause, 1ull << 32);
    scheduler::leave();
}

struct Parameters {
    std::uint64_t root, stack, argument, entry;
};

bool start(PerCore& p, HostPhys trampoline_page) {
    char* page = direct<char>(trampoline_page);
    std::memcpy(page, trampoline_begin,
                static_cast<std::size_t>(trampoline_end - trampoline_begin));
    const Parameters parameters{kernel_tables::root().value(), p.core.stack_top,
                                reinterpret_cast<std::uint64_t>(&p),
                                reinterpret_cast<std::uint64_t>(&other_core)};
    std::memcpy(page + (trampoline_parameters - trampoline_begin), &parameters, sizeof(parameters));
    apic::send_init(p.core.apic_id);
    wait_ms(10);
    volatile bool& online = p.core.online;
    for (unsigned attempt = 0; attempt < 2 && !online; ++attempt) {
        apic::send_startup(p.core.apic_id, static_cast<unsigned>(trampoline_page.value() >> 12));
        for (unsigned i = 0; i < 200 && !online; ++i) wait_ms(1);
    }
    return online;
}

void compare_clock(PerCore& p) {
    Core& core = p.core;
    constexpr unsigned limit_ms = 100;  // on a slow emulator a few rounds must do
    const TscOffset found =
        p.exchange.measure(cpu::rdtsc, cpu::pause, features().tsc_khz * limit_ms);
    core.tsc_offset = found.offset;
    core.tsc_error = found.error;
    if (!found.is_measured())
        log("margay: the time-stamp counter of core {} cannot be compared\n", core.id);
    else if (found.exceeds(features().tsc_khz / 1000))  // a microsecond
        log("margay: the time-stamp counter of core {} is {} ticks {} core 0's\n", core.id,
            found.offset < 0 ? -found.offset : found.offset,
            found.offset < 0 ? "behind" : "ahead of");
}

}  // namespace

void start_this_core(const acpi::Platform& platform) {
    // Firmware may have forgotten this one.
    reserve_cores(
        direct<Core*>(boot_allocator::allocate((platform.core_count + 1) * sizeof(void*))));
    PerCore& p = allocate_core(0);
    register_core(p.core);
    set_up_core(p);
    p.core.apic_id = apic::id();
    for (unsigned i = 0; i < platform.core_count; ++i)
        if (platform.cores[i].apic_id == p.core.apic_id) p.core.node = platform.cores[i].node;
}

void start_other_cores(const acpi::Platform& platform, HostPhys trampoline_page) {
    if (platform.core_count < 2) return;
    kernel_tables::identity_map(trampoline_page, true);
    for (unsigned i = 0; i < platform.core_count; ++i) {
        const unsigned apic_id = platform.cores[i].apic_id;
        if (apic_id == Core::here().apic_id) continue;
        if (boot_allocator::left() < core_bytes + left_for_init) {
            log("margay: {} cores are left out: too little RAM below 4 GiB\n",
                platform.core_count - Core::count());
            break;
        }
        PerCore& p = allocate_core(apic_id);
        // Known before it runs: its id must be in place.
        register_core(p.core);
        p.core.node = platform.cores[i].node;
        if (start(p, trampoline_page))
            compare_clock(p);
        else
            log("margay: core with APIC id {} does not answer\n", apic_id);
    }
    kernel_tables::identity_map(trampoline_page, false);
}

}  // namespace margay::smp
