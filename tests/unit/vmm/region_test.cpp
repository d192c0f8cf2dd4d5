// Builds of the VMM that lay the device state out differently take it over from each other.
#include "servers/vmm/state/attach.hpp"
#include "servers/vmm/state/half.hpp"
#include "servers/vmm/vm_layout.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <random>

namespace margay::vmm {

struct SeedState {
    std::uint64_t seed;
};
MARGAY_STATE(SeedState, "config", 1, 1, section_flag::critical, seed);

struct PumpState {
    std::uint32_t speed;
    std::uint32_t level;
};
MARGAY_STATE(PumpState, "pump", 1, 1, section_flag::critical, speed, level);

struct NewPumpState {
    std::uint64_t strokes;
    std::uint8_t valve[5];
    std::uint8_t reserved[3];
    std::uint32_t level;
    std::uint32_t speed;
};
MARGAY_STATE(NewPumpState, "pump", 2, 1, section_flag::critical, strokes, valve, reserved, level,
             speed);

struct StrictPumpState {
    std::uint32_t speed;
    std::uint32_t level;
};
MARGAY_STATE(StrictPumpState, "pump", 3, 3, section_flag::critical, speed, level);

struct WidePumpState {
    std::uint64_t speed;
};
MARGAY_STATE(WidePumpState, "pump", 2, 1, section_flag::critical, speed);

struct MeterState {
    std::uint64_t count;
    std::uint8_t history[24];
};
MARGAY_STATE(MeterState, "meter", 1, 1, 0, count, history);

struct BrakeState {
    std::uint64_t on;
};
MARGAY_STATE(BrakeState, "brake", 1, 1, section_flag::critical, on);

struct BallastState {
    std::uint64_t words[1915];
};
MARGAY_STATE(BallastState, "ballast", 1, 1, 0, words);

namespace {

/// A build whose slots are the given states, in this order.
template <typename... States>
struct Build {
    template <std::size_t... I>
    static consteval std::array<PlacedSection, sizeof...(States)> place(std::index_sequence<I...>) {
        constexpr std::array<std::size_t, sizeof...(States)> size{sizeof(StateSlot<States>)...};
        std::array<std::size_t, sizeof...(States)> at{};
        for (std::size_t i = 1; i < at.size(); ++i) {
            at[i] = at[i - 1] + size[i - 1];
        }
        return {PlacedSection{describe(static_cast<const States*>(nullptr)), at[I]}...};
    }
    static constexpr auto sections = place(std::index_sequence_for<States...>{});
    static constexpr std::size_t fields = count_fields(sections);
    static constexpr auto tables =
        make_layout<fields>(sections, (std::size_t{0} + ... + sizeof(StateSlot<States>)));

    template <typename State>
    static State& live(RegionHalf& half) {
        const std::string_view name = describe(static_cast<const State*>(nullptr)).name;
        for (const auto& section : tables.section) {
            if (name == section.name) {
                return *reinterpret_cast<State*>(half.at(section.slot + 8));
            }
        }
        throw std::logic_error{"no such section"};
    }
};

using Old = Build<SeedState, PumpState>;
using New = Build<SeedState, MeterState, NewPumpState>;
using Other = Build<SeedState, PumpState, BrakeState>;

struct OldDefaults final : StateDefaults {
    void reset(RegionHalf& half) override {
        auto& seed = Old::live<SeedState>(half).seed;
        seed = seed == 0 ? 100 : seed;
        Old::live<PumpState>(half) = {static_cast<std::uint32_t>(seed), 2};
    }
};
struct NewDefaults final : StateDefaults {
    void reset(RegionHalf& half) override {
        auto& seed = New::live<SeedState>(half).seed;
        seed = seed == 0 ? 100 : seed;
        New::live<NewPumpState>(half) = {seed + 7, {1, 2, 3, 4, 5}, {}, 2, 3};
        New::live<MeterState>(half) = {55, {}};
    }
};
struct NoDefaults final : StateDefaults {
    void reset(RegionHalf&) override {}
};

class RegionTest : public ::testing::Test {
  protected:
    template <typename B>
    Attachment attach_as(StateDefaults& defaults, std::uint64_t pending = 0) {
        return attach(*region, B::tables, defaults, pending, memory);
    }
    template <typename B>
    void make(StateDefaults& defaults) {
        create(*region, B::tables, defaults);
    }
    template <typename B, typename State>
    State& live() {
        return B::template live<State>(region->active());
    }
    SectionEntry& entry(unsigned index) { return region->active().directory[index]; }
    StateField& field(unsigned section, unsigned index) {
        return reinterpret_cast<StateField*>(region->active().at(entry(section).fields))[index];
    }
    /// Refused by Old, for a reason with this text in it, and not touched.
    void expect_refusal(const char* text) {
        const auto before = std::make_unique<Region>(*region);
        const auto found = attach_as<Old>(old_defaults, 9);
        EXPECT_EQ(found.finding, Finding::refused) << text;
        EXPECT_NE(std::string{found.why.text()}.find(text), std::string::npos) << found.why.text();
        EXPECT_EQ(std::memcmp(before.get(), region.get(), sizeof(Region)), 0) << text;
    }

    std::unique_ptr<Region> region = std::make_unique<Region>();
    test::FakeMemory memory;
    OldDefaults old_defaults;
    NewDefaults new_defaults;
    NoDefaults no_defaults;
};

TEST_F(RegionTest, blank_stays_blank) {
    EXPECT_EQ(attach_as<Old>(old_defaults).finding, Finding::blank);
    EXPECT_EQ(region->header.magic, 0U);
}

TEST_F(RegionTest, a_new_region_is_ones_own) {
    make<Old>(old_defaults);
    EXPECT_EQ((live<Old, SeedState>().seed), 100U);
    EXPECT_EQ(attach_as<Old>(old_defaults).finding, Finding::same);
    EXPECT_EQ(region->header.active, 0U);
}

TEST_F(RegionTest, newer_build_finds_fields_by_name_and_makes_up_the_others) {
    make<Old>(old_defaults);
    live<Old, SeedState>().seed = 1000;
    live<Old, PumpState>() = {41, 42};
    EXPECT_EQ(attach_as<New>(new_defaults).finding, Finding::foreign);
    EXPECT_EQ(region->header.active, 1U);
    const auto& pump = live<New, NewPumpState>();
    EXPECT_EQ(pump.speed, 41U);
    EXPECT_EQ(pump.level, 42U);
    EXPECT_EQ(pump.strokes, 1007U);  // depends on the first section as it was found
    EXPECT_EQ(pump.valve[4], 5);
    EXPECT_EQ((live<New, MeterState>().count), 55U);
    EXPECT_EQ(attach_as<New>(new_defaults).finding, Finding::same);
}

TEST_F(RegionTest, what_an_older_build_does_not_know_comes_back) {
    make<New>(new_defaults);
    live<New, NewPumpState>() = {123, {9, 8, 7, 6, 5}, {}, 10, 20};
    live<New, MeterState>() = {321, {4, 5, 6}};
    EXPECT_EQ(attach_as<Old>(old_defaults).finding, Finding::foreign);
    EXPECT_EQ((live<Old, PumpState>().speed), 20U);
    live<Old, PumpState>().speed = 21;
    EXPECT_EQ(attach_as<Old>(old_defaults).finding, Finding::same);  // with what it keeps

    EXPECT_EQ(attach_as<New>(new_defaults).finding, Finding::foreign);
    const auto& pump = live<New, NewPumpState>();
    EXPECT_EQ(pump.strokes, 123U);
    EXPECT_EQ(pump.valve[0], 9);
    EXPECT_EQ(pump.valve[4], 5);
    EXPECT_EQ(pump.level, 10U);
    EXPECT_EQ(pump.speed, 21U);
    EXPECT_EQ((live<New, MeterState>().count), 321U);
    EXPECT_EQ((live<New, MeterState>().history[2]), 6);
    EXPECT_EQ(region->active().sections, New::tables.section.size());  // nothing is left over
}

TEST_F(RegionTest, kept_fields_survive_a_third_build) {
    make<New>(new_defaults);
    live<New, NewPumpState>().strokes = 123;
    live<New, MeterState>().count = 321;
    EXPECT_EQ(attach_as<Old>(old_defaults).finding, Finding::foreign);
    EXPECT_EQ(attach_as<Other>(no_defaults).finding, Finding::foreign);
    entry(2).flags = 0;  // let the others do without the brake
    EXPECT_EQ(attach_as<Build<SeedState>>(no_defaults).finding, Finding::refused);
    for (unsigned i = 0; i < region->active().sections; ++i) {
        entry(i).flags &= ~section_flag::critical;
    }
    EXPECT_EQ(attach_as<Build<SeedState>>(no_defaults).finding, Finding::foreign);
    EXPECT_EQ(attach_as<New>(new_defaults).finding, Finding::foreign);
    EXPECT_EQ((live<New, NewPumpState>().strokes), 123U);
    EXPECT_EQ((live<New, MeterState>().count), 321U);
}

TEST_F(RegionTest, a_half_handled_exit_is_undone_before_conversion) {
    make<Old>(old_defaults);
    Transaction transaction;
    transaction.begin(8);
    auto& slot = *reinterpret_cast<StateSlot<PumpState>*>(region->active().at(entry(1).slot));
    Journaled<PumpState>{slot, transaction}.edit().speed = 77;
    GuestWords words{memory, region->header.guest_word, transaction};
    *words.edit(0x40) = std::byte{3};
    const auto found = attach_as<New>(new_defaults, 8);
    EXPECT_EQ(found.finding, Finding::foreign);
    EXPECT_TRUE(found.rolled_back);
    EXPECT_EQ((live<New, NewPumpState>().speed), 100U);
    EXPECT_EQ(memory.bytes[0x40], std::byte{0});
    for (const auto& section : sections_of(region->active())) {
        EXPECT_EQ(saved_in(region->active(), section), 0U);
    }
}

TEST_F(RegionTest, conversion_leaves_the_old_half_alone_until_it_is_done) {
    make<New>(new_defaults);
    live<New, MeterState>().count = 321;
    const auto before = std::make_unique<Region>(*region);
    ASSERT_EQ(attach_as<Old>(old_defaults).finding, Finding::foreign);
    EXPECT_EQ(std::memcmp(&before->half[0], &region->half[0], sizeof(RegionHalf)), 0);
    // Cut off before the last store, with the other half in any state: done again, the same comes out.
    const auto after = std::make_unique<Region>(*region);
    std::memset(static_cast<void*>(&region->half[1]), 0x5a, sizeof(RegionHalf));
    region->header.active = 0;
    ASSERT_EQ(attach_as<Old>(old_defaults).finding, Finding::foreign);
    EXPECT_EQ(region->header.active, 1U);
    EXPECT_EQ(std::memcmp(&after->half[1], &region->half[1], after->half[1].used), 0);
}

TEST_F(RegionTest, refuses_what_it_cannot_read) {
    const std::pair<const char*, std::function<void()>> cases[] = {
        {"no device state", [&] { region->header.magic = 1; }},
        {"format 2", [&] { region->header.format = 2; }},
        {"header", [&] { region->header.active = 2; }},
        {"directory", [&] { region->active().sections = max_sections + 1; }},
        {"directory", [&] { region->active().used = half_bytes + 1; }},
        {"directory", [&] { region->active().used = content_at - 1; }},
        {"section 0", [&] { region->active().used = content_at; }},
        {"section 0", [&] { entry(0).name[0] = 0; }},
        {"section 1", [&] { std::memset(entry(1).name, 'x', 16); }},
        {"section 1", [&] { entry(1).slot = content_at - 8; }},
        {"section 1", [&] { entry(1).slot += 4; }},
        {"section 1", [&] { entry(1).slot = 0xffff'fff8; }},
        {"section 1", [&] { entry(1).size = 0xffff'fff8; }},
        {"section 1", [&] { entry(1).size = 12; }},
        {"section 1", [&] { entry(1).fields = 0xffff'fff8; }},
        {"section 1", [&] { entry(1).field_count = 0xffff'ffff; }},
        {"section 1", [&] { entry(1).slot = entry(1).fields; }},
        {"section 1", [&] { field(1, 0).name[0] = 0; }},
        {"section 1", [&] { std::memset(field(1, 0).name, 'x', 24); }},
        {"section 1", [&] { field(1, 0).size = 0; }},
        {"section 1", [&] { field(1, 0).offset = 0xffff'fffc; }},
        {"section 1", [&] { field(1, 0).size = entry(1).size + 1; }},
        {"collide", [&] { entry(1).slot = entry(0).slot; }},
        {"collide", [&] { entry(1).fields = entry(0).fields; }},
        {"collide", [&] { std::memcpy(entry(1).name, entry(0).name, 16); }},
        {"needs a build that knows version 4", [&] { entry(2).oldest_reader = 4; }},
    };
    for (const auto& [text, damage] : cases) {
        make<New>(new_defaults);
        damage();
        expect_refusal(text);
    }
}

TEST_F(RegionTest, refuses_a_section_that_is_too_new) {
    make<Build<SeedState, StrictPumpState>>(no_defaults);
    expect_refusal("section `pump` needs a build that knows version 3");
}

TEST_F(RegionTest, refuses_a_critical_section_that_it_does_not_know) {
    make<Build<SeedState, BrakeState, PumpState>>(no_defaults);
    expect_refusal("does not know section `brake`");
    // Also behind its own sections.
    make<Other>(no_defaults);
    expect_refusal("does not know section `brake`");
}

TEST_F(RegionTest, refuses_a_field_of_another_size) {
    make<Build<SeedState, WidePumpState>>(no_defaults);
    expect_refusal("`speed` of section `pump` has 8 bytes, not 4");
}

TEST_F(RegionTest, refuses_what_does_not_fit_beside_its_own) {
    make<Build<SeedState, BallastState>>(no_defaults);
    expect_refusal("no room");
    // In place it fits.
    using Same = Build<SeedState, BallastState>;
    EXPECT_EQ(attach_as<Same>(no_defaults).finding, Finding::same);
}

TEST_F(RegionTest, damaged_regions_lead_nowhere) {
    std::mt19937_64 random{3};
    make<New>(new_defaults);
    const auto good = std::make_unique<Region>(*region);
    for (unsigned round = 0; round < 3000; ++round) {
        *region = *good;
        auto* const bytes = reinterpret_cast<std::uint8_t*>(region.get());
        for (unsigned i = 0; i <= random() % 4; ++i) {
            // Header, directory, and the fields behind it.
            const auto at = random() % (sizeof(RegionHeader) + content_at + 512);
            bytes[at] = static_cast<std::uint8_t>(random() % 3 == 0 ? 0 : random());
        }
        static_cast<void>(attach_as<Old>(old_defaults, random() % 3));
    }
}

TEST_F(RegionTest, layout_of_this_build) {
    const Layout layout = vm_layout();
    create(*region, layout, no_defaults);
    EXPECT_EQ(inspect(*region, layout).finding, Finding::same);
    auto& state = vm_state(region->active());
    state.cpu.vcpu.live.started = 1;
    constexpr char section_name[16] = "vcpu";
    constexpr char field_name[24] = "started";
    const auto* const vcpu = find_section(sections_of(region->active()), section_name);
    ASSERT_NE(vcpu, nullptr);
    const auto* const started = find_field(fields_of(region->active(), *vcpu), field_name);
    ASSERT_NE(started, nullptr);
    EXPECT_EQ(vmm::live(region->active(), *vcpu)[started->offset], std::byte{1});
}

}  // namespace
}  // namespace margay::vmm
