// The event log of an IOMMU of AMD's against a model of its registers, and where its messages go.
#include "ukernel/arch/x86_64/iommu/amd_vi/event_log.hpp"

#include <gtest/gtest.h>

#include <map>
#include <vector>

namespace margay::iommu::amd_vi {
namespace {

constexpr std::uint64_t log_at = 0x30'0000;

// Writes entries as the specification says (§2.5.1), and tells whether it interrupts.
struct Model {
    std::map<unsigned, std::uint64_t> registers;
    std::vector<Event> log = std::vector<Event>(EventLog<int>::entries);
    unsigned interrupts = 0, pauses = 0;
    int late = -1;  // an entry that is announced and not there yet: its index
    Event late_event{};

    void write(unsigned offset, std::uint64_t value) {
        if (offset == reg::status) {
            registers[offset] &= ~(value & (status::overflow | status::event));
            return;
        }
        if (offset == reg::control) {
            if ((value & control::events) != 0)
                registers[reg::status] |= status::log_runs;
            else
                registers[reg::status] &= ~status::log_runs;
        }
        registers[offset] = value;
    }
    void put(const Event& e, bool is_late = false) {
        if ((registers[reg::control] & control::events) == 0 ||
            (registers[reg::status] & status::overflow) != 0)
            return;
        std::uint64_t& tail = registers[reg::event_tail];
        const std::uint64_t next = (tail + sizeof(Event)) % (log.size() * sizeof(Event));
        if (next == registers[reg::event_head]) {
            registers[reg::status] |= status::overflow;
            registers[reg::status] &= ~status::log_runs;
            return interrupt();
        }
        if (is_late)
            late = static_cast<int>(tail / sizeof(Event)), late_event = e;
        else
            log[tail / sizeof(Event)] = e;
        tail = next;
        interrupt();
    }
    void interrupt() {
        const bool is_new = (registers[reg::status] & status::event) == 0;
        registers[reg::status] |= status::event;
        if (is_new && (registers[reg::control] & control::event_interrupts) != 0) ++interrupts;
    }
};

struct Registers {
    Model* model;
    std::uint64_t read(unsigned offset) const { return model->registers[offset]; }
    void write(unsigned offset, std::uint64_t value) const { model->write(offset, value); }
    void pause() const {
        ++model->pauses;
        if (model->late < 0) return;
        model->log[static_cast<unsigned>(model->late)] = model->late_event;
        model->late = -1;
    }
};

Event fault(Requester r, std::uint64_t address, bool writes = false, bool interrupts = false) {
    return {
        {2ull << 60 | r | std::uint64_t{writes} << 53 | std::uint64_t{interrupts} << 51, address}};
}

struct IommuEvents : testing::Test {
    void SetUp() override {
        model.registers[reg::control] = control::enable | control::commands;
        log.start();
        log.set_interrupts(true);
    }
    Model model;
    EventLog<Registers> log{Registers{&model}, HostPhys{log_at}, model.log.data()};
    Event e{};
};

TEST_F(IommuEvents, TheUnitGoesOnAsItWasEnabled) {
    EXPECT_EQ(model.registers[reg::control],
              control::enable | control::commands | control::events | control::event_interrupts);
    EXPECT_EQ(model.registers[reg::event_log], log_at | 8ull << 56) << "256 entries";
    EXPECT_FALSE(log.take(e));
}

TEST_F(IommuEvents, WhatWasKeptFromHappening) {
    model.put(fault(0x0320, 0x1234'5000, true));
    EXPECT_EQ(model.interrupts, 1u);
    EXPECT_FALSE(log.acknowledge());
    ASSERT_TRUE(log.take(e));
    EXPECT_EQ(e.code(), Event::Code::page_fault);
    EXPECT_EQ(e.requester(), 0x0320);
    EXPECT_EQ(e.address(), 0x1234'5000u);
    EXPECT_TRUE(e.was_write());
    EXPECT_FALSE(e.was_interrupt());
    EXPECT_FALSE(log.take(e));
    EXPECT_EQ(model.log[0].words[0], 0u) << "nobody takes it for the next one";
    model.put(fault(0x0320, 0xfee0'0000, false, true));
    EXPECT_EQ(model.interrupts, 2u) << "it was acknowledged";
    ASSERT_TRUE(log.take(e));
    EXPECT_TRUE(e.was_interrupt());
}

TEST_F(IommuEvents, TheLogGoesRound) {
    for (unsigned n = 0; n < 2000; ++n) {
        model.put(fault(static_cast<Requester>(n), n));
        if (n % 3 != 0) continue;
        (void)log.acknowledge();
        while (log.take(e)) EXPECT_EQ(e.address(), e.requester());
    }
    EXPECT_EQ(model.registers[reg::event_head] % sizeof(Event), 0u);
}

TEST_F(IommuEvents, OneThatIsAnnouncedBeforeItIsThere) {
    model.put(fault(0x18, 7), true);
    ASSERT_TRUE(log.take(e));
    EXPECT_EQ(e.requester(), 0x18);
    EXPECT_GT(model.pauses, 0u);
}

TEST_F(IommuEvents, AFullLogGoesOn) {
    for (unsigned n = 0; n < 1000; ++n) model.put(fault(0x18, n));
    unsigned taken = 0;
    const bool was_full = log.acknowledge();
    while (log.take(e)) ++taken;
    EXPECT_TRUE(was_full);
    EXPECT_EQ(taken, 255u);
    log.restart();
    EXPECT_NE(model.registers[reg::status] & status::log_runs, 0u);
    EXPECT_FALSE(log.take(e));
    const unsigned before = model.interrupts;
    model.put(fault(0x18, 5));
    EXPECT_EQ(model.interrupts, before + 1);
    ASSERT_TRUE(log.take(e));
    EXPECT_EQ(e.address(), 5u);
}

TEST_F(IommuEvents, SilentMeanwhile) {
    log.set_interrupts(false);
    model.put(fault(0x18, 1));
    EXPECT_EQ(model.interrupts, 0u);
    // As whoever listens again does.
    (void)log.acknowledge();
    log.restart();
    log.set_interrupts(true);
    EXPECT_FALSE(log.take(e));
    model.put(fault(0x18, 2));
    EXPECT_EQ(model.interrupts, 1u);
}

struct Config {
    std::uint32_t words[64] = {};
    std::uint32_t read(Requester, unsigned offset) const { return words[offset / 4]; }
    void write(Requester, unsigned offset, std::uint32_t value) { words[offset / 4] = value; }
};

TEST(IommuMessage, GoesToTheFirstMsiCapability) {
    Config c;
    EXPECT_FALSE(program_message(c, 0x10, 0xfee0'1000, 0xf2)) << "there is no list";
    c.words[1] = 1 << 20;
    c.words[0x34 / 4] = 0x40;
    c.words[0x40 / 4] = 0x0000'640f;
    c.words[0x64 / 4] = 0x00f0'0005;  // 64-bit; more messages were enabled
    ASSERT_TRUE(program_message(c, 0x10, 0xfee0'1000, 0xf2));
    EXPECT_EQ(c.words[0x64 / 4], 0x0081'0005u) << "one message, on";
    EXPECT_EQ(c.words[0x68 / 4], 0xfee0'1000u);
    EXPECT_EQ(c.words[0x6c / 4], 0u);
    EXPECT_EQ(c.words[0x70 / 4], 0xf2u);
    c.words[0x64 / 4] = 0x0000'0005;  // 32-bit
    c.words[0x6c / 4] = 0;
    ASSERT_TRUE(program_message(c, 0x10, 0xfee0'1000, 0xf2));
    EXPECT_EQ(c.words[0x6c / 4], 0xf2u);
    EXPECT_FALSE(program_message(c, 0x10, 1ull << 32, 0xf2));
    c.words[0x40 / 4] = 0x0000'400f;
    EXPECT_FALSE(program_message(c, 0x10, 0xfee0'1000, 0xf2)) << "a list in a circle";
}

}  // namespace
}  // namespace margay::iommu::amd_vi
