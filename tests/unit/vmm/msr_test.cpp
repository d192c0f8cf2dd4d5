#include "servers/vmm/cpu/msr.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

namespace margay::vmm {
namespace {

class MsrTest : public ::testing::Test {
  protected:
    MsrTest() {
        Msrs::reset(own.slot.live);
        LocalApic::reset(own_apic.slot.live, 0, true);
        KvmClock::reset(own_clock.slot.live, 2'000'000);
    }

    std::uint64_t read(std::uint32_t index) {
        std::uint64_t value = 0xdead;
        EXPECT_EQ(msrs.read(index, value), MsrResult::done) << std::hex << index;
        return value;
    }
    void expect_storage(std::uint32_t index, std::uint64_t value) {
        EXPECT_EQ(msrs.write(index, value), MsrResult::done) << std::hex << index;
        EXPECT_EQ(read(index), value) << std::hex << index;
    }
    void expect_fault(std::uint32_t index, std::uint64_t value) {
        EXPECT_EQ(msrs.write(index, value), MsrResult::fault) << std::hex << index << " " << value;
    }

    test::OwnSlot<MsrState> own;
    test::OwnSlot<LocalApicState> own_apic;
    test::OwnSlot<KvmClockState> own_clock;
    GuestWordUndo undo[guest_word_undos] = {};
    TimeBase time = TimeBase::make(2'000'000);
    test::FakeClock clock;
    test::FakeBus bus;
    test::FakeMemory memory;
    GuestWords words{memory, undo, own_apic.transaction};
    LocalApic apic{own_apic.journaled(), time, 40, clock, bus, words};
    KvmClock kvm_clock{own_clock.journaled(), 0, clock, memory};
    StealTime steal_time{own_clock.journaled(), time, memory};
    Msrs msrs{own.journaled(), 40, clock, apic, kvm_clock, steal_time};
};

TEST_F(MsrTest, pat) {
    EXPECT_EQ(read(0x277), 0x0007'0406'0007'0406U);
    expect_storage(0x277, 0x0007'0106'0007'0106);
    EXPECT_EQ(msrs.pat(), 0x0007'0106'0007'0106U);
    expect_fault(0x277, 0x02);
    expect_fault(0x277, 0x0800'0000'0000'0000);
    EXPECT_EQ(msrs.pat(), 0x0007'0106'0007'0106U);
}

TEST_F(MsrTest, mtrr_default_and_capability) {
    EXPECT_EQ(read(0xfe), 0x508U);
    EXPECT_EQ(read(0x2ff), 0xc06U);
    expect_storage(0x2ff, 0x806);
    expect_fault(0x2ff, 0xc07);
    expect_fault(0x2ff, 0x1000);
    expect_fault(0xfe, 0);
}

TEST_F(MsrTest, fixed_mtrrs) {
    for (const auto index : {0x250U, 0x258U, 0x259U, 0x268U, 0x26cU, 0x26fU}) {
        expect_storage(index, 0x0001'0405'0601'0405);
        expect_fault(index, 0x0700'0000'0000'0000);
    }
    EXPECT_EQ(read(0x269), 0x0606'0606'0606'0606U);
    std::uint64_t value = 0;
    for (const auto index : {0x251U, 0x257U, 0x25aU, 0x267U, 0x270U}) {
        EXPECT_EQ(msrs.read(index, value), MsrResult::unknown) << std::hex << index;
    }
}

TEST_F(MsrTest, variable_mtrrs) {
    for (unsigned range = 0; range < variable_mtrrs; ++range) {
        expect_storage(0x200 + 2 * range, 0x80'0000'0000 + 0x1000 * range + 6);
        expect_storage(0x201 + 2 * range, 0xff'ffff'f800);
    }
    expect_fault(0x200, 0x100'0000'0000);  // beyond the address width
    expect_fault(0x200, 2);
    expect_fault(0x201, 1);
    std::uint64_t value = 0;
    EXPECT_EQ(msrs.read(0x210, value), MsrResult::unknown);
}

TEST_F(MsrTest, tsc_and_tsc_adjust) {
    clock.ns = 1000;
    EXPECT_EQ(read(0x10), 2000U);
    EXPECT_EQ(msrs.write(0x10, 5000), MsrResult::done);
    EXPECT_EQ(read(0x10), 5000U);
    EXPECT_EQ(read(0x3b), 3000U);
    EXPECT_EQ(msrs.write(0x3b, 0), MsrResult::done);
    EXPECT_EQ(read(0x10), 2000U);
}

TEST_F(MsrTest, moving_the_tsc_updates_clock_and_timer) {
    EXPECT_EQ(msrs.write(0x4b56'4d01, 0x1001), MsrResult::done);
    EXPECT_EQ(msrs.write(0x832, 2U << 17 | 0xec), MsrResult::done);
    EXPECT_EQ(msrs.write(0x6e0, 4000), MsrResult::done);
    EXPECT_EQ(apic.next_deadline(), 2000U);
    EXPECT_EQ(msrs.write(0x10, 2000), MsrResult::done);
    EXPECT_EQ(apic.next_deadline(), 1000U);
    EXPECT_EQ(memory.at<std::uint64_t>(0x1008), 2000U);
    EXPECT_EQ(read(0x6e0), 4000U);
}

TEST_F(MsrTest, apic_base_and_x2apic_range) {
    EXPECT_EQ(read(0x1b), 0xfee0'0d00U);
    expect_fault(0x1b, 0xfee0'0400);
    EXPECT_EQ(read(0x802), 0U);
    std::uint64_t value = 0;
    EXPECT_EQ(msrs.read(0x8ff, value), MsrResult::fault);
    EXPECT_EQ(msrs.read(0x900, value), MsrResult::unknown);
    EXPECT_EQ(msrs.read(0x7ff, value), MsrResult::unknown);
}

TEST_F(MsrTest, amd_registers) {
    EXPECT_NE(read(0x8b), 0U);
    EXPECT_EQ(read(0xc001'0114), 0x18U);  // SVM disabled and locked
    EXPECT_EQ(read(0xc001'1029), 2U);
    expect_storage(0xc001'1029, 0);
    expect_fault(0xc001'1029, 1ULL << 9);
    EXPECT_EQ(msrs.write(0xc001'0010, ~0ULL), MsrResult::done);
    EXPECT_EQ(read(0xc001'0010), 0x007c'0000U);  // no memory encryption
    EXPECT_EQ(read(0xc001'0015) & 1U << 24, 1U << 24);
    expect_storage(0xc000'0103, 0x1001);
    expect_fault(0xc000'0103, 1ULL << 32);
}

TEST_F(MsrTest, machine_check_banks_stay_quiet) {
    EXPECT_EQ(read(0x179), 0x100U + machine_check_banks);
    expect_fault(0x179, 1);
    expect_fault(0x17a, 1);
    expect_storage(0x17a, 0);
    expect_storage(0x17b, ~0ULL);
    for (unsigned bank = 0; bank < machine_check_banks; ++bank) {
        const auto first = 0x400 + 4 * bank;
        for (const auto index : {first, first + 2, first + 3, 0xc001'0044 + bank}) {
            EXPECT_EQ(read(index), 0U);
            expect_storage(index, ~0ULL - index);
        }
        EXPECT_EQ(read(first + 1), 0U);
        expect_storage(first + 1, 0);
        expect_fault(first + 1, 1);
    }
    EXPECT_EQ(msrs.write(0xc001'0015, 1U << 18), MsrResult::done);  // McStatusWrEn
    expect_storage(0x401, 1ULL << 63);
    std::uint64_t value = 0;
    EXPECT_EQ(msrs.read(0x400 + 4 * machine_check_banks, value), MsrResult::unknown);
    EXPECT_EQ(msrs.read(0xc001'0044 + machine_check_banks, value), MsrResult::unknown);
}

// They are there, and a guest that tries them finds that they do not count.
TEST_F(MsrTest, performance_counters_stand_still) {
    for (unsigned i = 0; i < 4; ++i) {
        expect_storage(0xc001'0000 + i, 0x53'0076 + i);
        EXPECT_EQ(read(0xc001'0200 + 2 * i), 0x53'0076U + i) << "one register by two names";
        EXPECT_EQ(msrs.write(0xc001'0004 + i, 0xffff), MsrResult::done);
        EXPECT_EQ(read(0xc001'0004 + i), 0U);
    }
    for (unsigned i = 0; i < 6; ++i) {
        expect_storage(0xc001'0200 + 2 * i, 0x43'0000 + i);
        EXPECT_EQ(msrs.write(0xc001'0201 + 2 * i, 1), MsrResult::done);
        EXPECT_EQ(read(0xc001'0201 + 2 * i), 0U);
    }
    std::uint64_t value = 0;
    EXPECT_EQ(msrs.read(0xc001'0008, value), MsrResult::unknown);
    EXPECT_EQ(msrs.read(0xc001'020c, value), MsrResult::unknown);
}

TEST_F(MsrTest, io_ranges_are_storage) {
    for (unsigned i = 0; i < 4; ++i) {
        EXPECT_EQ(read(0xc001'0016 + i), 0U);
        expect_storage(0xc001'0016 + i, 0x1000 + i);
    }
}

TEST_F(MsrTest, unknown_registers) {
    std::uint64_t value = 0;
    for (const auto index :
         {0x02U, 0x48U, 0x49U, 0x186U, 0x17cU, 0xc000'0080U, 0xc001'000fU, 0xdead'beefU, ~0U}) {
        EXPECT_EQ(msrs.read(index, value), MsrResult::unknown) << std::hex << index;
        EXPECT_EQ(msrs.write(index, 0), MsrResult::unknown) << std::hex << index;
    }
}

// However often, in whatever order, and whichever VMM: what was told is part of the VM's state.
TEST_F(MsrTest, each_unknown_register_is_news_once) {
    EXPECT_EQ(msrs.note_unknown(0x186), Msrs::News::one);
    EXPECT_EQ(msrs.note_unknown(0x187), Msrs::News::one);
    EXPECT_EQ(msrs.note_unknown(0x186), Msrs::News::none);
    Msrs successor{own.journaled(), 40, clock, apic, kvm_clock, steal_time};
    EXPECT_EQ(successor.note_unknown(0x187), Msrs::News::none);
    for (unsigned i = 2; i + 1 < reported_msrs; ++i) {
        EXPECT_EQ(msrs.note_unknown(0x1000 + i), Msrs::News::one);
    }
    EXPECT_EQ(msrs.note_unknown(0x2000), Msrs::News::last);
    EXPECT_EQ(msrs.note_unknown(0x3000), Msrs::News::none);
}

}  // namespace
}  // namespace margay::vmm
