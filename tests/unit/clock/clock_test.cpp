// The time-stamp counter measured on a machine that stands still again and again, as one does whose emulator, or whose
// firmware, has something else to do.
#include "ukernel/arch/x86_64/clock.hpp"

#include <gtest/gtest.h>

#include <random>

#include "ukernel/arch/x86_64/cpu.hpp"

namespace margay {
namespace {

constexpr std::uint16_t pm_port = 0x608;

struct Machine {
    double seconds = 0;
    double tsc_hz = 2.4e9;
    bool has_pm_timer = true, pit_runs = true;
    unsigned latched = 0, bytes_read = 0;
    // A stall comes before an access with this chance, and lasts up to so many seconds.
    double stall_chance = 0, longest_stall = 0;
    std::mt19937 random{1};

    void pass() {
        std::uniform_real_distribution<double> luck{0, 1};
        seconds += 1e-6;
        if (luck(random) < stall_chance) seconds += luck(random) * longest_stall;
    }
    std::uint64_t count(double hertz) const { return static_cast<std::uint64_t>(seconds * hertz); }
} machine;

std::uint64_t measured() { return measure_tsc_khz(machine.has_pm_timer ? pm_port : 0); }

}  // namespace

namespace cpu {
std::uint64_t rdtsc() {
    machine.pass();
    return machine.count(machine.tsc_hz);
}
std::uint32_t in32(std::uint16_t port) {
    EXPECT_EQ(port, pm_port);
    machine.pass();
    return machine.count(3'579'545) & 0xffffff;
}
std::uint8_t in8(std::uint16_t port) {
    machine.pass();
    if (port != 0x42) return 0;
    return static_cast<std::uint8_t>(machine.latched >> 8 * (machine.bytes_read++ & 1));
}
void out8(std::uint16_t port, std::uint8_t value) {
    machine.pass();
    if (port != 0x43 || value != 0x80) return;
    machine.latched = machine.pit_runs ? -machine.count(1'193'182) & 0xffff : 0;
    machine.bytes_read = 0;
}
void pause() {}
}  // namespace cpu

namespace {

TEST(Clock, EachReference) {
    for (const bool pm : {true, false}) {
        machine = {};
        machine.has_pm_timer = pm;
        EXPECT_NEAR(static_cast<double>(measured()), 2.4e6, 500);
    }
}

TEST(Clock, AMachineThatStandsStillIsMeasuredAsWell) {
    for (const bool pm : {true, false})
        for (unsigned seed = 0; seed < 300; ++seed) {
            machine = {};
            machine.has_pm_timer = pm;
            // Slowed some tenfold: what is measured takes 10 000 accesses.
            machine.stall_chance = seed % 2 == 0 ? 1e-3 : 1e-2;
            machine.longest_stall = pm ? 0.1 : 0.02;
            machine.random.seed(seed);
            EXPECT_NEAR(static_cast<double>(measured()), 2.4e6, 5000) << pm << ' ' << seed;
        }
}

// The counter has come round in the meantime.
TEST(Clock, AStallThatIsLongerThanTheCounter) {
    for (const bool pm : {true, false})
        for (unsigned seed = 0; seed < 300; ++seed) {
            machine = {};
            machine.has_pm_timer = pm;
            machine.stall_chance = 5e-5;
            machine.longest_stall = pm ? 20 : 0.3;
            machine.random.seed(seed);
            EXPECT_NEAR(static_cast<double>(measured()), 2.4e6, 5000) << pm << ' ' << seed;
        }
}

TEST(Clock, WithoutAnythingThatRuns) {
    machine = {};
    machine.has_pm_timer = machine.pit_runs = false;
    EXPECT_EQ(measured(), 1'000'000u);
}

}  // namespace
}  // namespace margay
