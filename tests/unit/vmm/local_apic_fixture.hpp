#pragma once

#include "servers/vmm/devices/local_apic.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

namespace margay::vmm::test {

/// A local APIC with id 1, in x2APIC mode unless told otherwise.
class LocalApicFixture : public ::testing::Test {
  protected:
    explicit LocalApicFixture(bool x2apic = true) { LocalApic::reset(state, 1, x2apic); }

    std::uint64_t read(unsigned index) {
        std::uint64_t value = 0xdead;
        EXPECT_EQ(apic.x2apic_read(0x800 + index, value), MsrResult::done) << index;
        return value;
    }
    void write(unsigned index, std::uint64_t value) {
        EXPECT_EQ(apic.x2apic_write(0x800 + index, value), MsrResult::done) << index;
    }
    void request(std::uint8_t vector, bool level = false) {
        apic.receive({1, vector, DeliveryMode::fixed, false, level});
    }
    void take(std::uint8_t vector) {
        ASSERT_EQ(apic.deliverable(), vector);
        apic.offer(vector);
        apic.taken(vector);
    }

    OwnSlot<LocalApicState> own;
    LocalApicState& state = own.slot.live;
    TimeBase time = TimeBase::make(2'000'000);
    FakeClock clock;
    FakeBus bus;
    FakeMemory memory;
    GuestWordUndo undo[guest_word_undos] = {};
    GuestWords words{memory, undo, own.transaction};
    LocalApic apic{own.journaled(), time, 40, clock, bus, words};
};

}  // namespace margay::vmm::test
