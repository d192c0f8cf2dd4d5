// Interrupts that nobody expects, NMIs and machine checks: counted, never acted on.
#include "iommu_model.hpp"
#include "one_guest.hpp"
#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/arch/x86_64/machine_check.hpp"
#include "ukernel/debug/report.hpp"

extern "C" [[noreturn]] void user_interrupt(margay::InterruptFrame* frame);
extern "C" void kernel_interrupt(margay::InterruptFrame* frame);
extern "C" void paranoid_interrupt(margay::InterruptFrame* frame);

namespace margay {
namespace {

using namespace machine_check;

constexpr std::uint32_t mcg_cap = 0x179, mcg_status_msr = 0x17a, bank1_control = 0x404,
                        bank1_status = 0x405;

class Interrupts : public OneGuest {
  protected:
    void SetUp() override {
        OneGuest::SetUp();
        machine::now.nothing_in_service = true;
        machine::now.ends_of_interrupt = 0;
    }
    static InterruptFrame frame(std::uint64_t vector) {
        InterruptFrame f{};
        f.vector = vector;
        return f;
    }
    static void in_kernel(std::uint64_t vector) {
        InterruptFrame f = frame(vector);
        kernel_interrupt(&f);
    }
    static void paranoid(std::uint64_t vector) {
        InterruptFrame f = frame(vector);
        paranoid_interrupt(&f);
    }
    void begin_machine_check(std::uint64_t bank, std::uint64_t status) {
        machine::now.msr[mcg_cap] = 4;
        machine::now.msr[mcg_status_msr] = status;
        machine::now.msr[bank1_status] = bank;
    }

    Core& core = machine::core(0);
};

TEST_F(Interrupts, StrayOnesAreCountedAndNotEnded) {
    const std::uint64_t timer = machine::now.timer[0];
    for (unsigned vector = 16; vector < 256; ++vector) in_kernel(vector);
    EXPECT_EQ(core.stray_interrupts, 240u);
    EXPECT_EQ(machine::now.ends_of_interrupt, 0u) << "another one's end";
    EXPECT_EQ(machine::now.timer[0], timer);
    EXPECT_FALSE(core.reschedule);
    EXPECT_EQ(System::leave(), v);
}

TEST_F(Interrupts, EachInServiceIsEndedOnce) {
    machine::now.nothing_in_service = false;
    for (unsigned vector = 16; vector < 256; ++vector) {
        const unsigned ends = machine::now.ends_of_interrupt;
        const std::uint64_t strays = core.stray_interrupts;
        in_kernel(vector);
        EXPECT_EQ(machine::now.ends_of_interrupt, ends + 1);
        const bool expected =
            vector == apic::vector::timer || vector == apic::vector::kick ||
            (vector >= apic::vector::first_gsi && vector < apic::vector::first_gsi + max_gsi);
        EXPECT_EQ(core.stray_interrupts, strays + (expected ? 0 : 1)) << vector;
    }
    // The timer with nothing due, a kick without work, lines that nobody has: the guest runs on.
    EXPECT_EQ(System::leave(), v);
}

// An IOMMU's vector means something where there is one.
TEST_F(Interrupts, WhatAnIommuHasToTell) {
    machine::now.nothing_in_service = false;
    for (const bool present : {false, true, false}) {
        iommu_model::reset(present);
        const std::uint64_t strays = core.stray_interrupts;
        const unsigned looks = iommu_model::looks();
        in_kernel(apic::vector::iommu);
        EXPECT_EQ(core.stray_interrupts, strays + (present ? 0 : 1));
        EXPECT_EQ(iommu_model::looks(), looks + (present ? 1 : 0));
    }
}

TEST_F(Interrupts, AtUserLevelTheThreadGoesOn) {
    ASSERT_EQ(System::exit_guest(*v, ExitClass::halt), h);
    for (unsigned vector = 16; vector < 256; ++vector) {
        if (vector == 18) continue;  // has a path of its own
        InterruptFrame f = frame(vector);
        f.rip = 0x401000 + vector;
        f.rax = vector;
        ASSERT_EQ(machine::run([&] { user_interrupt(&f); }), h) << vector;
        EXPECT_EQ(h->rip, f.rip);
        EXPECT_EQ(h->gpr[gpr_rax], vector);
    }
    EXPECT_EQ(h->state, ContextState::ready);
}

TEST_F(Interrupts, ReturnAddressIsCanonical) {
    ASSERT_EQ(System::exit_guest(*v, ExitClass::halt), h);
    for (const std::uint64_t rip : {0x8000'0000'0000ull, 0xdead'beef'0000'0000ull, ~0ull}) {
        InterruptFrame f = frame(apic::vector::kick);
        f.rip = rip;
        ASSERT_EQ(machine::run([&] { user_interrupt(&f); }), h);
        EXPECT_EQ(h->rip, user_end) << "where it faults by itself";
    }
}

TEST_F(Interrupts, ExceptionsOfTheKernelAreItsEnd) {
    for (unsigned vector = 0; vector < 16; ++vector)
        EXPECT_THROW(in_kernel(vector), machine::Panic) << vector;
    EXPECT_THROW(paranoid(8), machine::Panic) << "double fault";
}

TEST_F(Interrupts, NmisAreCounted) {
    for (unsigned n = 0; n < 5; ++n) paranoid(2);
    EXPECT_EQ(core.nmis, 5u);
    EXPECT_EQ(System::leave(), v);
}

TEST_F(Interrupts, SeverityOfABank) {
    using namespace bank_status;
    EXPECT_EQ(severity_of(0), Severity::none);
    EXPECT_EQ(severity_of(uncorrected | context_corrupt), Severity::none) << "not valid";
    EXPECT_EQ(severity_of(valid), Severity::corrected);
    EXPECT_EQ(severity_of(valid | address_valid | misc_valid | 0x135), Severity::corrected);
    EXPECT_EQ(severity_of(valid | uncorrected), Severity::fatal);
    EXPECT_EQ(severity_of(valid | context_corrupt), Severity::fatal);
}

TEST_F(Interrupts, CorrectedMachineCheckIsCounted) {
    using namespace mcg_status;
    begin_machine_check(bank_status::valid | 0x135, in_progress | restart_valid);
    paranoid(18);
    EXPECT_EQ(core.machine_checks, 1u);
    EXPECT_EQ(machine::now.msr[bank1_status], 0u);
    EXPECT_EQ(machine::now.msr[mcg_status_msr], 0u) << "the next one may come";
    EXPECT_EQ(System::leave(), v);
}

TEST_F(Interrupts, UncorrectedMachineCheckStopsTheNode) {
    using namespace mcg_status;
    begin_machine_check(bank_status::valid | bank_status::uncorrected, in_progress | restart_valid);
    EXPECT_THROW(paranoid(18), machine::Panic);
    begin_machine_check(0, in_progress);
    EXPECT_THROW(paranoid(18), machine::Panic) << "what was interrupted cannot go on";
}

TEST_F(Interrupts, VectorOfTheMachineCheckWithoutOne) {
    begin_machine_check(0, 0);
    paranoid(18);
    EXPECT_EQ(core.machine_checks, 0u);
    EXPECT_EQ(core.stray_interrupts, 1u);
}

TEST_F(Interrupts, MachineChecksAreReportedFromTheStart) {
    machine::now.msr[mcg_cap] = 4;
    machine::now.msr[bank1_status] = bank_status::valid;
    enable();
    EXPECT_EQ(machine::now.msr[bank1_status], 0u);
    EXPECT_EQ(machine::now.msr[bank1_control], ~0ull);
}

}  // namespace
}  // namespace margay
