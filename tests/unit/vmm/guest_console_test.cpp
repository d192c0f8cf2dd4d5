#include "servers/vmm/vcpu/guest_console.hpp"

#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace margay::vmm {
namespace {

class GuestConsoleTest : public ::testing::Test {
  protected:
    GuestConsoleTest() { GuestConsole::reset(own.slot.live, *channel); }

    void send(GuestConsole& console, std::string_view text) {
        for (const char c : text) {
            console.put(static_cast<std::uint8_t>(c));
        }
    }
    void type(std::string_view text) {
        for (const char c : text) {
            ASSERT_TRUE(channel->input.put(c));
        }
    }
    std::string read(GuestConsole& console, unsigned most) {
        std::string text;
        console.release_input();
        for (char c; text.size() < most && console.peek(c); console.take()) {
            text += c;
        }
        return text;
    }
    std::string shown() {
        std::string text;
        for (char c; channel->output.get(c);) {
            text += c;
        }
        return text;
    }
    /// What roll_back() does to the one slot that there is.
    void roll_back() {
        if (own.slot.saved_in == own.transaction.number()) {
            own.slot.live = own.slot.saved;
            own.slot.saved_in = 0;
        }
    }

    std::unique_ptr<ConsoleChannel> channel = std::make_unique<ConsoleChannel>();
    test::OwnSlot<ConsoleState> own;
    GuestConsole console{own.journaled(), own.transaction, *channel};
};

TEST_F(GuestConsoleTest, a_replay_continues_behind_what_was_published) {
    send(console, "one ");
    own.transaction.begin(2);
    send(console, "tw");
    roll_back();
    GuestConsole successor{own.journaled(), own.transaction, *channel};
    send(successor, "two ");
    own.transaction.begin(3);
    send(successor, "three");
    EXPECT_EQ(shown(), "one two three");
}

TEST_F(GuestConsoleTest, the_console_may_have_taken_what_was_published) {
    send(console, "ab");
    EXPECT_EQ(shown(), "ab");
    roll_back();
    GuestConsole successor{own.journaled(), own.transaction, *channel};
    send(successor, "abc");
    EXPECT_EQ(shown(), "c");
}

TEST_F(GuestConsoleTest, once_full_the_rest_of_the_exit_is_dropped) {
    while (channel->output.put('.')) {}
    GuestConsole::reset(own.slot.live, *channel);
    send(console, "a");
    char c;
    ASSERT_TRUE(channel->output.get(c));
    send(console, "b");  // there would be room, but a replay would take it for "a"
    EXPECT_EQ(channel->output.room(), 1U);
    own.transaction.begin(2);
    send(console, "c");
    EXPECT_EQ(shown().back(), 'c');
}

TEST_F(GuestConsoleTest, input_is_given_up_only_when_it_is_committed) {
    type("abc");
    EXPECT_EQ(read(console, 2), "ab");
    EXPECT_EQ(channel->input.tail(), 0U);
    roll_back();
    GuestConsole successor{own.journaled(), own.transaction, *channel};
    EXPECT_EQ(read(successor, 2), "ab");
    EXPECT_EQ(read(successor, 1), "c");  // a second read in the same exit
    EXPECT_EQ(channel->input.tail(), 0U);
    own.transaction.begin(2);
    EXPECT_EQ(read(successor, 1), "");
    EXPECT_EQ(channel->input.tail(), 3U);
}

TEST_F(GuestConsoleTest, starts_with_what_is_in_the_rings) {
    type("old");
    char c;
    ASSERT_TRUE(channel->input.get(c));
    ASSERT_TRUE(channel->output.put('x'));
    GuestConsole::reset(own.slot.live, *channel);
    send(console, "y");
    EXPECT_EQ(shown(), "xy");
    EXPECT_EQ(read(console, 9), "ld");
}

}  // namespace
}  // namespace margay::vmm
