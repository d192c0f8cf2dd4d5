#include "ukernel/arch/x86_64/clock.hpp"

#include <algorithm>

#include "ukernel/arch/x86_64/counter_sample.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"

namespace margay {

namespace {

constexpr std::uint64_t loop_limit = 1'000'000;

// A counter of a known frequency.
struct Reference {
    std::uint32_t (*read)(std::uint16_t port);  // counts up
    std::uint16_t port;
    std::uint32_t mask;
    std::uint64_t hertz;

    std::uint32_t passed(std::uint32_t from, std::uint32_t to) const { return (to - from) & mask; }
    // Nonsense if the counter came round meanwhile, and then it may say that nothing passed.
    std::uint64_t khz(std::uint64_t tsc_passed, std::uint32_t count_passed) const {
        return tsc_passed * hertz / std::max(count_passed, 1u) / 1000;
    }
    CounterSample sample() const {
        return sample_counter([this] { return read(port); });
    }
    // A sample at least so much behind the one; false if it stands still.
    bool sample_behind(const CounterSample& one, std::uint32_t span, CounterSample& to) const {
        for (std::uint64_t i = 0; i < loop_limit; ++i) {
            if (passed(one.count, read(port)) < span) continue;
            to = sample();
            return true;
        }
        return false;
    }
};

std::uint32_t read_pm_timer(std::uint16_t port) { return cpu::in32(port); }
// Channel 2 of the 8254, which counts down: its count, latched, low byte first.
std::uint32_t read_pit(std::uint16_t) {
    cpu::out8(0x43, 0x80);
    const std::uint32_t low = cpu::in8(0x42);
    return -(low | static_cast<std::uint32_t>(cpu::in8(0x42)) << 8);
}

void start_pit() {
    cpu::out8(0x61, (cpu::in8(0x61) & ~2u) | 1);  // gate on, speaker off
    cpu::out8(0x43, 0xb0);                        // channel 2, both bytes, mode 0
    cpu::out8(0x42, 0xff);
    cpu::out8(0x42, 0xff);
}

// Over two spans that must agree: a processor that stood still while the counter came round would be off by far.
std::uint64_t against(const Reference& reference) {
    const auto span = static_cast<std::uint32_t>(reference.hertz / 200);  // 5 ms
    CounterSample a = reference.sample(), b, c;
    if (!reference.sample_behind(a, span, b)) return 0;
    std::uint64_t khz = 0;
    for (unsigned tries = 0; tries < 20; ++tries) {
        if (!reference.sample_behind(b, span, c)) return 0;
        const std::uint32_t passed1 = reference.passed(a.count, b.count),
                            passed2 = reference.passed(b.count, c.count);
        const std::uint64_t first = reference.khz(b.tsc - a.tsc, passed1),
                            second = reference.khz(c.tsc - b.tsc, passed2);
        khz = reference.khz(c.tsc - a.tsc, passed1 + passed2);
        const std::uint64_t apart = first > second ? first - second : second - first;
        if (apart <= khz / 500) return khz;
        a = b;
        b = c;
    }
    return khz;
}

}  // namespace

std::uint64_t measure_tsc_khz(std::uint16_t pm_timer_port) {
    std::uint64_t khz = 0;
    if (pm_timer_port != 0) khz = against({read_pm_timer, pm_timer_port, 0xffffff, 3'579'545});
    if (khz == 0) {
        start_pit();
        khz = against({read_pit, 0, 0xffff, 1'193'182});
    }
    return khz != 0 ? khz : 1'000'000;
}

}  // namespace margay
