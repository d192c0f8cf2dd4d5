#include "ukernel/arch/x86_64/apic.hpp"

#include "proto/kernel.hpp"
#include "ukernel/arch/x86_64/counter_sample.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/core/measure.hpp"
#include "ukernel/memory/kernel_tables.hpp"

namespace margay::apic {

namespace {

volatile std::uint32_t* registers = nullptr;  // null: x2APIC mode
std::uint64_t ticks_per_4g_tsc = 0;

enum Register : unsigned {
    reg_id = 0x20,
    reg_tpr = 0x80,
    reg_eoi = 0xb0,
    reg_spurious = 0xf0,
    reg_in_service = 0x100,  // eight of them
    reg_requested = 0x200,   // likewise
    reg_icr_low = 0x300,
    reg_icr_high = 0x310,
    reg_lvt_timer = 0x320,
    reg_lvt_lint0 = 0x350,
    reg_lvt_lint1 = 0x360,
    reg_lvt_error = 0x370,
    reg_initial = 0x380,
    reg_current = 0x390,
    reg_divide = 0x3e0,
};
constexpr std::uint32_t masked = 1 << 16;

// In x2APIC mode each register is an MSR (§16.9; SDM vol. 3 §10.12).
constexpr std::uint32_t msr_of(Register r) { return 0x800 + r / 16; }

void write(Register r, std::uint32_t v) {
    const measure::Elsewhere turn;
    if (registers != nullptr)
        registers[r / 4] = v;
    else
        cpu::write_msr(msr_of(r), v);
}
std::uint32_t read(Register r) {
    return registers != nullptr ? registers[r / 4]
                                : static_cast<std::uint32_t>(cpu::read_msr(msr_of(r)));
}

void send(unsigned apic_id, std::uint32_t command) {
    if (registers == nullptr) {
        // The MSR's write waits for nothing: what the other core is to find must be there before.
        asm volatile("mfence; lfence" : : : "memory");
        cpu::write_msr(msr_of(reg_icr_low), std::uint64_t{apic_id} << 32 | command);
        return;
    }
    write(reg_icr_high, apic_id << 24);
    write(reg_icr_low, command);
    for (unsigned i = 0; i < 1'000'000 && (read(reg_icr_low) & 1 << 12); ++i) cpu::pause();
}

// Of one of the bitmaps of all vectors.
bool is_set(Register first, unsigned vector) {
    return (read(static_cast<Register>(first + vector / 32 * 0x10)) >> vector % 32 & 1) != 0;
}

constexpr std::uint64_t base_enabled = 1 << 11, base_x2apic = 1 << 10;

}  // namespace

void map() {
    const std::uint64_t base = cpu::read_msr(cpu::msr::apic_base);
    constexpr std::uint32_t has_x2apic = 1 << 21;
    registers = nullptr;
    // Firmware may have chosen already; then there is no way back but a reset.
    if ((base & base_x2apic) != 0 || (cpu::cpuid(1).ecx & has_x2apic) != 0) return;
    constexpr std::uint64_t address = 0x000f'ffff'ffff'f000;
    registers =
        static_cast<volatile std::uint32_t*>(kernel_tables::map_device(HostPhys{base & address}));
}

bool is_x2apic() { return registers == nullptr; }

void enable() {
    const std::uint64_t base = cpu::read_msr(cpu::msr::apic_base);
    // From off to x2APIC the way goes by way of xAPIC.
    if ((base & base_enabled) == 0) cpu::write_msr(cpu::msr::apic_base, base | base_enabled);
    if (is_x2apic()) cpu::write_msr(cpu::msr::apic_base, base | base_enabled | base_x2apic);
    // First: the mask bits of the LVT cannot be cleared before (§16.4.7).
    write(reg_spurious, 0x100 | vector::spurious);
    write(reg_tpr, 0);
    write(reg_lvt_lint0, masked);
    write(reg_lvt_lint1, 4 << 8);  // NMI
    write(reg_lvt_error, masked);
    write(reg_divide, 0xb);  // by 1
    write(reg_lvt_timer, vector::timer);
}

unsigned id() { return is_x2apic() ? read(reg_id) : read(reg_id) >> 24; }
void end_of_interrupt() { write(reg_eoi, 0); }
bool in_service(unsigned vector) { return is_set(reg_in_service, vector); }
bool is_requested(unsigned vector) { return is_set(reg_requested, vector); }

void arm_timer(std::uint64_t tsc) {
    if (tsc == no_deadline) {
        write(reg_initial, 0);
        return;
    }
    const std::uint64_t now = cpu::rdtsc();
    std::uint64_t delta = tsc > now ? tsc - now : 1;
    if (delta > 1ull << 40) delta = 1ull << 40;
    std::uint64_t ticks =
        static_cast<std::uint64_t>(static_cast<unsigned __int128>(delta) * ticks_per_4g_tsc >> 32) +
        1;
    // A deadline beyond the counter's reach: an early interrupt finds nothing due and arms again.
    if (ticks > 0xffff'ffff) ticks = 0xffff'ffff;
    write(reg_initial, static_cast<std::uint32_t>(ticks));
}

void calibrate(std::uint64_t tsc_khz) {
    write(reg_lvt_timer, masked | vector::timer);
    write(reg_initial, 0xffff'ffff);
    const auto sample = [] { return sample_counter([] { return read(reg_current); }); };
    const CounterSample begin = sample();
    while (cpu::rdtsc() < begin.tsc + tsc_khz * 2) cpu::pause();  // 2 ms
    const CounterSample end = sample();
    write(reg_initial, 0);
    write(reg_lvt_timer, vector::timer);
    // It counts down. A counter that has come to its end meanwhile would be one of 2 THz.
    ticks_per_4g_tsc = (std::uint64_t{begin.count - end.count} << 32) / (end.tsc - begin.tsc);
}

std::uint64_t poke_address(std::uint32_t* elsewhere) {
    const auto r = cpu::cpuid(0x40000000);
    constexpr std::uint32_t tcgt = 0x54474354, cgtc = 0x43544743,
                            gtcg = 0x47435447;  // "TCGTCGTCGTCG"
    const bool emulated = !is_x2apic() && (cpu::cpuid(1).ecx >> 31) != 0 && r.ebx == tcgt &&
                          r.ecx == cgtc && r.edx == gtcg;
    return emulated ? reinterpret_cast<std::uint64_t>(registers + reg_tpr / 4)
                    : reinterpret_cast<std::uint64_t>(elsewhere);
}

void send_init(unsigned apic_id) { send(apic_id, 0x4500); }
void send_startup(unsigned apic_id, unsigned page) { send(apic_id, 0x4600 | page); }
void send_kick(unsigned apic_id) { send(apic_id, 0x4000 | vector::kick); }

}  // namespace margay::apic
