#include "ukernel/arch/x86_64/clock.hpp"

#include "ukernel/arch/x86_64/cpu.hpp"

namespace margay {

namespace {

constexpr std::uint64_t pm_hz = 3'579'545;
constexpr std::uint64_t pit_hz = 1'193'182;
constexpr std::uint64_t loop_limit = 20'000'000;

std::uint64_t against_pm_timer(std::uint16_t port) {
    constexpr std::uint32_t span = pm_hz / 100;  // 10 ms
    const std::uint32_t begin = cpu::in32(port) & 0xffffff;
    const std::uint64_t tsc = cpu::rdtsc();
    for (std::uint64_t i = 0; i < loop_limit; ++i) {
        const std::uint32_t passed = (cpu::in32(port) - begin) & 0xffffff;
        if (passed >= span) return (cpu::rdtsc() - tsc) * pm_hz / passed / 1000;
    }
    return 0;
}

std::uint64_t against_pit() {
    constexpr std::uint64_t count = pit_hz / 100;
    cpu::out8(0x61, (cpu::in8(0x61) & ~2u) | 1);  // gate on, speaker off
    cpu::out8(0x43, 0xb0);                        // channel 2, mode 0
    cpu::out8(0x42, count & 0xff);
    cpu::out8(0x42, count >> 8);
    const std::uint64_t tsc = cpu::rdtsc();
    for (std::uint64_t i = 0; i < loop_limit; ++i)
        if (cpu::in8(0x61) & 0x20) return (cpu::rdtsc() - tsc) * pit_hz / count / 1000;
    return 0;
}

}  // namespace

std::uint64_t measure_tsc_khz(std::uint16_t pm_timer_port) {
    std::uint64_t khz = pm_timer_port != 0 ? against_pm_timer(pm_timer_port) : 0;
    if (khz == 0) khz = against_pit();
    return khz != 0 ? khz : 1'000'000;
}

}  // namespace margay
