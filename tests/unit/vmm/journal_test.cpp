#include "servers/vmm/state/journaled.hpp"

#include "servers/vmm/state/attach.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace margay::vmm {

struct SmallState {
    std::uint64_t a;
    std::uint32_t b;
    std::uint32_t reserved;
};
MARGAY_STATE(SmallState, "small", 1, 1, section_flag::critical, a, b, reserved);

struct LargeState {
    std::uint64_t word[40];
};
MARGAY_STATE(LargeState, "large", 1, 1, 0, word);

struct TwoSlots {
    StateSlot<SmallState> small;
    StateSlot<LargeState> large;
};

namespace {

constexpr auto sections = std::to_array<PlacedSection>({
    MARGAY_SECTION(TwoSlots, small),
    MARGAY_SECTION(TwoSlots, large),
});
constexpr std::size_t field_count = count_fields(sections);
constexpr auto layout = make_layout<field_count>(sections, sizeof(TwoSlots));

struct Defaults final : StateDefaults {
    void reset(RegionHalf& half) override {
        auto& slots = *reinterpret_cast<TwoSlots*>(half.at(slots_at<field_count>()));
        slots.small.live = {1, 2, 0};
        for (unsigned i = 0; i < 40; ++i) {
            slots.large.live.word[i] = i;
        }
    }
};

class JournalTest : public ::testing::Test {
  protected:
    JournalTest() {
        create(*region, layout, defaults);
        transaction.begin(5);
    }

    TwoSlots& slots() {
        return *reinterpret_cast<TwoSlots*>(region->active().at(slots_at<field_count>()));
    }
    bool undo(std::uint64_t sequence) { return roll_back(*region, sequence, memory); }

    std::unique_ptr<Region> region = std::make_unique<Region>();
    Defaults defaults;
    test::FakeMemory memory;
    Transaction transaction;
    Journaled<SmallState> small{slots().small, transaction};
    Journaled<LargeState> large{slots().large, transaction};
    GuestWords words{memory, region->header.guest_word, transaction};
};

TEST_F(JournalTest, description_names_all_but_reserved_fields) {
    ASSERT_EQ(layout.field.size(), 3U);
    EXPECT_STREQ(layout.field[0].name, "a");
    EXPECT_STREQ(layout.field[1].name, "b");
    EXPECT_EQ(layout.field[1].offset, 8U);
    EXPECT_EQ(layout.field[1].size, 4U);
    EXPECT_STREQ(layout.section[1].name, "large");
    EXPECT_EQ(layout.section[1].field_count, 1U);
}

TEST_F(JournalTest, reading_saves_nothing) {
    EXPECT_EQ(small->a + (*small).b, 3U);
    EXPECT_EQ(slots().small.saved_in, 0U);
    EXPECT_FALSE(undo(5));
}

TEST_F(JournalTest, the_first_change_of_a_transaction_saves) {
    small.edit().a = 10;
    small.edit().a = 11;
    for (auto& word : large.edit().word) {
        word = 99;
    }
    EXPECT_EQ(slots().small.saved_in, 5U);
    EXPECT_EQ(slots().small.saved.a, 1U);
    EXPECT_EQ(small.committed().a, 1U);
    EXPECT_TRUE(undo(5));
    EXPECT_EQ(small->a, 1U);
    EXPECT_EQ(large->word[39], 39U);
    EXPECT_EQ(slots().small.saved_in, 0U);
    EXPECT_FALSE(undo(5));
}

TEST_F(JournalTest, it_tells_what_this_transaction_has_changed) {
    EXPECT_FALSE(small.is_edited());
    small.edit().a = 3;
    EXPECT_TRUE(small.is_edited());
    EXPECT_FALSE(large.is_edited());
    transaction.begin(6);
    EXPECT_FALSE(small.is_edited());
}

TEST_F(JournalTest, what_is_committed_stays) {
    small.edit().a = 10;
    large.edit().word[3] = 33;
    transaction.begin(6);
    EXPECT_EQ(small.committed().a, 10U);
    small.edit().a = 20;
    EXPECT_TRUE(undo(6));
    EXPECT_EQ(small->a, 10U);
    EXPECT_EQ(large->word[3], 33U);
}

TEST_F(JournalTest, an_exit_that_changed_nothing_yet) {
    small.edit().a = 10;
    EXPECT_FALSE(undo(6));
    EXPECT_EQ(small->a, 10U);
}

TEST_F(JournalTest, a_replay_saves_again) {
    small.edit().a = 10;
    undo(5);
    small.edit().b = 7;
    EXPECT_EQ(slots().small.saved_in, 5U);
    undo(5);
    EXPECT_EQ(small->a, 1U);
    EXPECT_EQ(small->b, 2U);
}

TEST_F(JournalTest, outside_of_transactions_nothing_is_saved) {
    transaction.begin(0);
    small.edit().a = 10;
    EXPECT_EQ(slots().small.saved_in, 0U);
    EXPECT_EQ(small.committed().a, 10U);
}

TEST_F(JournalTest, guest_words_go_back_to_the_first_value) {
    memory.bytes[0x100] = std::byte{1};
    memory.bytes[0x200] = std::byte{2};
    *words.edit(0x100) = std::byte{11};
    *words.edit(0x200) = std::byte{22};
    *words.edit(0x100) = std::byte{111};
    EXPECT_EQ(words.edit(0x300), nullptr);  // no third record
    EXPECT_TRUE(undo(5));
    EXPECT_EQ(memory.bytes[0x100], std::byte{1});
    EXPECT_EQ(memory.bytes[0x200], std::byte{2});
    EXPECT_FALSE(undo(5));
}

TEST_F(JournalTest, guest_words_of_a_committed_exit_stay) {
    *words.edit(0x100) = std::byte{11};
    transaction.begin(6);
    *words.edit(0x200) = std::byte{22};
    EXPECT_TRUE(undo(6));
    EXPECT_EQ(memory.bytes[0x100], std::byte{11});
    EXPECT_EQ(memory.bytes[0x200], std::byte{0});
}

TEST_F(JournalTest, guest_words_outside_of_ram) {
    EXPECT_EQ(words.edit(0x10'0000), nullptr);
    EXPECT_FALSE(words.is_ram(0x10'0000));
    EXPECT_FALSE(undo(5));
}

TEST_F(JournalTest, attaching_rolls_back_and_uses_the_region_in_place) {
    small.edit().a = 10;
    auto found = attach(*region, layout, defaults, 6, memory);
    EXPECT_EQ(found.finding, Finding::same);
    EXPECT_FALSE(found.rolled_back);
    EXPECT_EQ(small->a, 10U);
    found = attach(*region, layout, defaults, 5, memory);
    EXPECT_EQ(found.finding, Finding::same);
    EXPECT_TRUE(found.rolled_back);
    EXPECT_EQ(small->a, 1U);
    EXPECT_EQ(region->header.active, 0U);
}

TEST_F(JournalTest, nothing_pending_nothing_undone) {
    small.edit().a = 10;
    EXPECT_FALSE(attach(*region, layout, defaults, 0, memory).rolled_back);
    EXPECT_EQ(small->a, 10U);
}

}  // namespace
}  // namespace margay::vmm
