// What a successor makes of a device state that somebody has written over.
#include "servers/vmm/board.hpp"
#include "servers/vmm/state/attach.hpp"
#include "servers/vmm/state/half.hpp"
#include "servers/vmm/vm_check.hpp"
#include "servers/vmm/vm_layout.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>

namespace margay::vmm {
namespace {

struct NoRam final : GuestMemory {
    std::span<std::byte> window(std::uint64_t, std::size_t) override { return {}; }
};

struct Defaults final : StateDefaults {
    void reset(RegionHalf& half) override {
        VmState& s = vm_state(half);
        const BoardConfig config{2'000'000, 0, 0, 40, 1, 0, 1, 0};
        Board::reset(s.board, config, [](std::uint32_t leaf, std::uint32_t) {
            return CpuidResult{leaf, 1, 2, 3};
        });
        Board::reset(s.cpu, config, 0);
        s.cpu.vcpu.live = {};
        s.cpu.vcpu.live.offered_vector = 0x100;
    }
    Refusal check(const RegionHalf& half, std::span<const ExitNumbers> exits) override {
        return check_values(vm_state(const_cast<RegionHalf&>(half)), exits);
    }
};

class Damage : public testing::Test {
  protected:
    Damage() { create(*region, vm_layout(), defaults); }

    VmState& state() { return vm_state(region->active()); }
    Attachment take_over(std::uint64_t pending = 0, std::uint64_t last = 100) {
        return attach(*region, vm_layout(), defaults, pending, memory, last);
    }
    void expect_refused(const std::string& why) {
        const Attachment a = take_over();
        EXPECT_EQ(a.finding, Finding::refused);
        EXPECT_NE(std::string{a.why.text()}.find(why), std::string::npos) << a.why.text();
    }

    std::unique_ptr<Region> region = std::make_unique<Region>();
    Defaults defaults;
    NoRam memory;
};

TEST_F(Damage, ThereIsNone) {
    const Attachment a = take_over();
    EXPECT_EQ(a.finding, Finding::same);
    EXPECT_EQ(a.mended, 0u);
}

// A byte anywhere in either copy of what never changes.
TEST_F(Damage, ConstantSectionsAreMendedFromTheirOtherCopy) {
    const auto good = std::make_unique<Region>(*region);
    unsigned sections = 0;
    for (const auto& section : vm_layout().sections) {
        if ((section.flags & section_flag::constant) == 0) continue;
        ++sections;
        for (std::uint32_t at = 0; at < 2 * section.size; at += 5) {
            std::byte* const byte = live(region->active(), section) + at;
            *byte ^= std::byte{0x41};
            const Attachment a = take_over();
            ASSERT_EQ(a.finding, Finding::same) << section.name << " " << at;
            ASSERT_EQ(a.mended, 1u);
            ASSERT_EQ(std::memcmp(good.get(), region.get(), sizeof(Region)), 0);
        }
    }
    EXPECT_EQ(sections, 3u);
}

TEST_F(Damage, ConstantSectionsWithoutAGoodCopyAreRefused) {
    state().board.cpuid.live.entry[3].eax ^= 1;
    state().board.cpuid.saved.entry[7].ecx ^= 1;
    expect_refused("section `cpuid` of the device state was overwritten");
    EXPECT_EQ(take_over().finding, Finding::refused) << "and stays so";
}

TEST_F(Damage, AJournalAheadOfTheGuestIsRefused) {
    state().board.uart.saved_in = 100;
    EXPECT_EQ(take_over().finding, Finding::same);
    state().board.uart.saved_in = 101;
    expect_refused("journal of section `uart`");
    state().board.uart.saved_in = 0;
    region->header.guest_word[1].written_in = 101;
    expect_refused("journal of guest memory");
}

TEST_F(Damage, ImpossibleValuesAreRefused) {
    struct Case {
        const char* section;
        std::function<void(VmState&)> spoil;
    };
    const Case cases[] = {
        {"vcpu", [](VmState& s) { s.cpu.vcpu.live.offered_vector = 0x101; }},
        {"vcpu", [](VmState& s) { s.cpu.vcpu.live.halted = 2; }},
        {"offer", [](VmState& s) { s.cpu.offer.live.source = OfferState::Source{3}; }},
        {"local_apic", [](VmState& s) { s.cpu.local_apic.live.deliverable = 256; }},
        {"local_apic", [](VmState& s) { s.cpu.local_apic.live.deliverable = -2; }},
        {"pic", [](VmState& s) { s.board.pic.live.chip[1].lowest = 8; }},
        {"io_apic", [](VmState& s) { s.board.io_apic.live.levels = 1 << 24; }},
        {"uart", [](VmState& s) { s.board.uart.live.receive_head = 16; }},
        {"uart", [](VmState& s) { s.board.uart.live.receive_count = 17; }},
        {"pit", [](VmState& s) { s.board.pit.live.channel[2].reload = 65'537; }},
        {"pit", [](VmState& s) { s.board.pit.live.channel[0].mode = 6; }},
        {"rtc", [](VmState& s) { s.board.rtc.live.index = 128; }},
        {"rtc", [](VmState& s) { s.board.rtc.live.offset_s = INT64_MIN; }},
        {"kvm_clock", [](VmState& s) { s.cpu.kvm_clock.live.tsc_shift = -128; }},
    };
    const auto good = std::make_unique<Region>(*region);
    for (const Case& c : cases) {
        *region = *good;
        c.spoil(state());
        expect_refused(std::string{"section `"} + c.section +
                       "` of the device state has impossible");
    }
}

// What the exit that is undone has changed counts as it was before.
TEST_F(Damage, TheStateBeforeThePendingExitCounts) {
    auto& rtc = state().board.rtc;
    rtc.saved = rtc.live;
    rtc.saved_in = 7;
    rtc.live.index = 200;
    EXPECT_EQ(take_over(6).finding, Finding::refused);
    EXPECT_EQ(take_over(7).finding, Finding::same);
    EXPECT_LT(rtc.live.index, 128);
}

}  // namespace
}  // namespace margay::vmm
