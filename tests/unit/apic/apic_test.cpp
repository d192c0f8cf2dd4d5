// The driver against a local APIC that is as strict as the manuals (AMD APM vol. 2 §16, SDM vol. 3 §10): what
// hardware would fault on or ignore is a failure here or has no effect.
#include "ukernel/arch/x86_64/apic.hpp"

#include <gtest/gtest.h>

#include <map>
#include <utility>
#include <vector>

#include "proto/kernel.hpp"
#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/memory/kernel_tables.hpp"

namespace margay {
namespace {

constexpr std::uint32_t x2apic_feature = 1 << 21;
constexpr std::uint64_t enabled = 1 << 11, x2 = 1 << 10;

struct Hardware {
    std::uint32_t features = 0;
    std::uint64_t base = 0xfee00000 | 1 << 8;
    std::uint64_t tsc = 0;
    // A read of the TSC that comes so many calls behind the timer's start finds that the machine stood still.
    unsigned reads = 0, stands_still_at = ~0u;
    std::map<std::uint32_t, std::uint64_t> registers;
    std::vector<std::uint64_t> commands;
    alignas(4096) std::uint32_t page[1024] = {};
    bool mapped = false;
} hardware;

constexpr std::uint32_t spurious = 0x80f, timer = 0x832, lint0 = 0x835, lint1 = 0x836,
                        error = 0x837, icr = 0x830;

void write_register(std::uint32_t msr, std::uint64_t v) {
    Hardware& h = hardware;
    if ((h.base & (enabled | x2)) != (enabled | x2)) {
        ADD_FAILURE() << "#GP: MSR " << std::hex << msr << " outside x2APIC mode";
        return;
    }
    if (msr == icr) {
        h.commands.push_back(v);
        return;
    }
    if (v >> 32 != 0) ADD_FAILURE() << "#GP: reserved bits";
    // While the spurious-vector register has the APIC off, mask bits stay set.
    const bool lvt = msr == timer || msr == lint0 || msr == lint1 || msr == error;
    if (lvt && (h.registers[spurious] & 0x100) == 0) v |= 1 << 16;
    h.registers[msr] = v;
}

void start(std::uint64_t base, std::uint32_t features) {
    hardware = {};
    hardware.base = base;
    hardware.features = features;
    for (const std::uint32_t lvt : {timer, lint0, lint1, error}) hardware.registers[lvt] = 1 << 16;
    hardware.registers[spurious] = 0xff;
    hardware.registers[0x802] = 0x1'2345;
    hardware.page[0x20 / 4] = 7u << 24;
    apic::map();
    apic::enable();
}

}  // namespace

namespace cpu {
CpuidResult cpuid(std::uint32_t leaf, std::uint32_t) {
    return {0, 0, leaf == 1 ? hardware.features : 0, 0};
}
std::uint64_t read_msr(std::uint32_t index) {
    return index == msr::apic_base ? hardware.base : hardware.registers[index];
}
void write_msr(std::uint32_t index, std::uint64_t v) {
    if (index != msr::apic_base) return write_register(index, v);
    const std::uint64_t from = hardware.base & (enabled | x2), to = v & (enabled | x2);
    EXPECT_NE(to, x2) << "#GP: x2APIC mode without enable";
    EXPECT_FALSE(from == 0 && to == (enabled | x2)) << "#GP: from off to x2APIC mode";
    EXPECT_FALSE(from == (enabled | x2) && to == enabled) << "#GP: back from x2APIC mode";
    EXPECT_TRUE(to != (enabled | x2) || (hardware.features & x2apic_feature) != 0);
    hardware.base = v;
}
// The timer counts at a quarter of the TSC.
std::uint64_t rdtsc() {
    Hardware& h = hardware;
    h.tsc += h.reads++ == h.stands_still_at ? 50'000'000 : 100;
    h.registers[0x839] = h.page[0x390 / 4] = static_cast<std::uint32_t>(0xffff'ffff - h.tsc / 4);
    return h.tsc;
}
void pause() {}
}  // namespace cpu

namespace kernel_tables {
void* map_device(HostPhys page) {
    EXPECT_EQ(page.value(), hardware.base & ~0xfffull);
    hardware.mapped = true;
    return hardware.page;
}
}  // namespace kernel_tables

namespace {

TEST(Apic, X2apicWhereTheProcessorHasIt) {
    for (const std::uint64_t base :
         {0xfee00100ul, 0xfee00100ul | enabled, 0xfee00100ul | enabled | x2}) {
        start(base, x2apic_feature);
        EXPECT_TRUE(apic::is_x2apic());
        EXPECT_EQ(hardware.base, base | enabled | x2);
        EXPECT_FALSE(hardware.mapped);
        EXPECT_EQ(apic::id(), 0x1'2345u);
    }
}

TEST(Apic, LvtIsOpenAfterwards) {
    start(0xfee00100, x2apic_feature);
    EXPECT_EQ(hardware.registers[spurious], 0x1ffu);
    EXPECT_EQ(hardware.registers[timer], apic::vector::timer);
    EXPECT_EQ(hardware.registers[lint1], 0x400u) << "NMI";
    EXPECT_EQ(hardware.registers[lint0], 1u << 16) << "masked: the 8259";
}

TEST(Apic, CommandsCarryWholeIds) {
    start(0xfee00100, x2apic_feature);
    apic::send_init(300);
    apic::send_startup(300, 0x9f);
    apic::send_kick(0x1'0001);
    EXPECT_EQ(hardware.commands,
              (std::vector<std::uint64_t>{300ull << 32 | 0x4500, 300ull << 32 | 0x469f,
                                          0x1'0001ull << 32 | 0x4000 | apic::vector::kick}));
}

TEST(Apic, RegistersInMemoryOtherwise) {
    start(0xfee00100, 0);
    EXPECT_FALSE(apic::is_x2apic());
    EXPECT_EQ(hardware.base, 0xfee00100 | enabled);
    EXPECT_TRUE(hardware.mapped);
    EXPECT_EQ(apic::id(), 7u);
    EXPECT_EQ(hardware.page[0xf0 / 4], 0x1ffu);
    EXPECT_EQ(hardware.page[0x320 / 4], apic::vector::timer);
    apic::send_kick(5);
    EXPECT_EQ(hardware.page[0x310 / 4], 5u << 24);
    EXPECT_EQ(hardware.page[0x300 / 4], 0x4000u | apic::vector::kick);
    EXPECT_TRUE(hardware.commands.empty());
}

TEST(Apic, TimerInBothModes) {
    for (const bool in_memory : {false, true}) {
        start(0xfee00100, in_memory ? 0 : x2apic_feature);
        const auto initial = [in_memory] {
            return in_memory ? hardware.page[0x380 / 4]
                             : static_cast<std::uint32_t>(hardware.registers[0x838]);
        };
        apic::calibrate(1'000'000);
        EXPECT_EQ(initial(), 0u);
        apic::arm_timer(hardware.tsc + 4'000'000);
        EXPECT_NEAR(initial(), 1'000'000, 2000);
        apic::arm_timer(hardware.tsc - 5);
        EXPECT_GT(initial(), 0u) << "what is past comes at once";
        EXPECT_LT(initial(), 10u);
        apic::arm_timer(hardware.tsc + (1ull << 60));
        EXPECT_EQ(initial(), 0xffff'ffffu);
        apic::arm_timer(no_deadline);
        EXPECT_EQ(initial(), 0u);
    }
}

TEST(Apic, AMachineThatStandsStillIsMeasuredAsWell) {
    for (unsigned at = 0; at < 40; ++at)
        for (const bool is_near_the_end : {false, true}) {
            start(0xfee00100, x2apic_feature);
            // 2 ms are 20 000 reads.
            hardware.stands_still_at = is_near_the_end ? 19'985 + at : at;
            apic::calibrate(1'000'000);
            hardware.stands_still_at = ~0u;
            apic::arm_timer(hardware.tsc + 4'000'000);
            EXPECT_NEAR(static_cast<double>(hardware.registers[0x838]), 1'000'000, 2000) << at;
        }
}

}  // namespace
}  // namespace margay
