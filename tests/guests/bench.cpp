// Measures what exits cost, as the guest sees it: the time-stamp counter around one instruction.
// Under instruction counting one tick is one instruction, the guest's and the host's.
#include "tests/guests/guest.hpp"
#include "tests/guests/median.hpp"

using namespace margay::guest;

namespace {

constexpr unsigned warm_up = 100;
constexpr unsigned repeats = 1000;
constexpr std::uint64_t io_apic_select = 0xfec00000;
constexpr std::uint64_t lapic_version = 0xfee00030;
constexpr std::uint64_t lapic_task_priority = 0xfee00080;
constexpr std::uint64_t lapic_spurious = 0xfee000f0;
constexpr std::uint64_t lapic_lvt_timer = 0xfee00320;
constexpr std::uint64_t lapic_timer_initial = 0xfee00380;

std::uint64_t samples[repeats];
std::uint8_t changing = 0;

void write_lapic(std::uint64_t address, std::uint32_t v) {
    *reinterpret_cast<volatile std::uint32_t*>(address) = v;
}

// The median of single measurements, including the reading of the counter (4 instructions).
template <typename F>
void measure(const char* key, F action) {
    for (unsigned i = 0; i < warm_up; ++i) action();
    for (std::uint64_t& sample : samples) {
        const std::uint64_t begin = rdtsc();
        action();
        sample = rdtsc() - begin;
    }
    say("bench: {} {} instructions {} {{\"vmruns\": 1, \"cr3_writes\": 0, \"msr_writes\": 0, "
        "\"vmloads\": 2, \"vmsaves\": 1}\n",
        key, median(samples), repeats);
}

}  // namespace

void guest_main(void*) {
    measure("exit_port_write", [] { out8(0x3ff, 0x55); });  // UART scratch register
    measure("exit_port_read", [] { (void)in8(0x3ff); });
    measure("exit_mmio_write",
            [] { *reinterpret_cast<volatile std::uint32_t*>(io_apic_select) = 1; });
    measure("exit_hypercall", [] {
        std::uint64_t rax = 0x1234;
        asm volatile("vmmcall" : "+a"(rax) : : "memory");
    });
    measure("exit_cpuid", [] { (void)cpuid(1); });
    // The local APIC by memory.
    measure("exit_lapic_read",
            [] { (void)*reinterpret_cast<volatile std::uint32_t*>(lapic_version); });

    // What changes more of the VM's state. No interrupt is due before the end.
    measure("exit_uart_write", [] { out8(0x3f9, ++changing & 1); });  // interrupt enable
    measure("exit_lapic_write", [] { write_lapic(lapic_task_priority, ++changing & 0xf0); });
    write_lapic(lapic_spurious, 0x1ff);
    write_lapic(lapic_lvt_timer, 0x40);
    measure("exit_timer_write", [] { write_lapic(lapic_timer_initial, 0x7fffff00u | ++changing); });
    out8(0x43, 0x30);  // PIT channel 0: mode 0, low byte, then high byte
    measure("exit_pit_write", [] { out8(0x40, 0xff); });
    power_off();
}
