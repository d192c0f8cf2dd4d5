#include "servers/console/screen.hpp"

#include <random>

#include "tests/unit/console/console_fixture.hpp"

namespace margay::console {
namespace {

class ScreenTest : public ConsoleTest {
  protected:
    void type(const std::string& text) {
        for (const char c : text) {
            ASSERT_TRUE(screen_->has_room());
            press(c);
        }
        (void)screen_->pass_on(ms_);
    }
    // Nobody takes what is sent, for so many milliseconds.
    void stall(std::uint64_t ms) {
        for (; ms != 0; --ms, ++ms_) {
            screen_out_.look(ms_, false);
            (void)turn();
        }
    }
};

TEST_F(ScreenTest, FirstTerminalIsAttached) {
    log("pmem");
    const unsigned vm = terminal("linux");
    EXPECT_EQ(screen_->attached(), vm);
    put(vm, "login: ");
    EXPECT_EQ(shown(), "login: ");
}

TEST_F(ScreenTest, LogLineStartsOnALineOfItsOwn) {
    const unsigned init = log("init", channel_flag::trusted), vm = terminal("vm");
    put(vm, "$ ls");
    EXPECT_EQ(shown(), "$ ls");
    put(init, "news\n");
    EXPECT_EQ(shown(), "\r\nnews\r\n");
    put(vm, "\r\n");
    put(init, "more\n");
    EXPECT_EQ(shown(), "\r\nmore\r\n") << "terminals come first";
}

TEST_F(ScreenTest, DetachedTerminalIsKeptAndShownOnAttach) {
    const unsigned one = terminal("one"), two = terminal("two");
    put(one, "1");
    put(two, "hidden");
    EXPECT_EQ(shown(), "1");
    screen_->attach(two);
    EXPECT_EQ(shown(), "\r\n[console of two; Ctrl-] n: next]\r\nhidden");
    put(one, "kept");
    put(two, "2");
    EXPECT_EQ(shown(), "2");
    screen_->attach(two);
    EXPECT_EQ(shown().find("hidden"), std::string::npos) << "shown once";
    screen_->attach(one);
    EXPECT_NE(shown().find("kept"), std::string::npos);
}

TEST_F(ScreenTest, HistoryKeepsTheLatest) {
    terminal("one");
    const unsigned two = terminal("two");
    std::string all;
    std::mt19937 random{1};
    while (all.size() < 15'000) {
        const std::string piece(random() % 3000, static_cast<char>('a' + random() % 26));
        put(two, piece);
        all += piece;
        EXPECT_EQ(shown(), "");
    }
    screen_->attach(two);
    const std::string text = shown();
    EXPECT_EQ(text.find("dropped"), std::string::npos) << "it was never to be shown";
    EXPECT_EQ(text.substr(text.size() - 4096), all.substr(all.size() - 4096));
}

TEST_F(ScreenTest, TheNodeConsoleIsAttachedIfNoVmIs) {
    const unsigned vm = terminal("linux", channel_flag::detached);
    const unsigned node = terminal("node");
    EXPECT_EQ(screen_->attached(), node);
    put(node, "margay> ");
    EXPECT_EQ(shown(), "margay> ");
    type("\x1dn");
    EXPECT_EQ(screen_->attached(), vm);
    type("\x1dn");
    EXPECT_EQ(screen_->attached(), node);
}

TEST_F(ScreenTest, AttachRefusesLogsAndUnknownChannels) {
    const unsigned vm = terminal("vm"), l = log("log");
    for (const unsigned other : {l, 7u, ~0u, max_channels}) screen_->attach(other);
    EXPECT_EQ(screen_->attached(), vm);
    EXPECT_EQ(shown(), "");
}

TEST_F(ScreenTest, InputGoesToTheAttachedOne) {
    const unsigned one = terminal("one"), l = log("log"), two = terminal("two");
    type("a\x1dn");
    EXPECT_EQ(screen_->attached(), two) << "over the log";
    type("b\x1dx");
    EXPECT_EQ(screen_->attached(), one) << "around";
    EXPECT_EQ(typed(one), "a");
    EXPECT_EQ(typed(l), "");
    EXPECT_EQ(typed(two), "b");
}

TEST_F(ScreenTest, WhatWasPassedOnStays) {
    const unsigned one = terminal("one");
    terminal("two");
    type("a");
    type("\x1dn");
    EXPECT_EQ(typed(one), "a");
}

TEST_F(ScreenTest, EscapeTwiceSendsOne) {
    const unsigned vm = terminal("vm");
    type("\x1d\x1dq");
    EXPECT_EQ(typed(vm), "\x1dq");
}

TEST_F(ScreenTest, WithoutTerminalsInputIsDropped) {
    type("a\x1dn");
    log("log");
    type("\x1dna");
    EXPECT_EQ(shown(), "");
}

// Twenty thousand bytes typed at a guest that reads slowly: each arrives.
TEST_F(ScreenTest, InputWaitsForItsReader) {
    const unsigned vm = terminal("vm");
    std::mt19937 random{6};
    std::string sent, got;
    while (sent.size() < 20'000 || got.size() < sent.size()) {
        while (sent.size() < 20'000 && screen_->has_room()) {
            sent += static_cast<char>('a' + random() % 26);
            press(sent.back());
        }
        const bool moved = screen_->pass_on(ms_ += 10);
        char c;
        for (unsigned n = random() % 700; n != 0 && at(vm).input.get(c); --n) got += c;
        EXPECT_TRUE(moved || at(vm).wants_room != 0 || got.size() == sent.size());
        at(vm).wants_room = 0;
    }
    EXPECT_EQ(got, sent);
    EXPECT_EQ(shown(), "");
}

// A guest that reads nothing does not lock the operator out: after a while the escape is heard again.
TEST_F(ScreenTest, AGuestThatDoesNotReadLosesItsInputInTheEnd) {
    terminal("deaf");
    const unsigned node = terminal("node");
    unsigned taken = 0;
    for (; screen_->has_room() && taken < 100'000; ++taken) press('x'), (void)screen_->pass_on(ms_);
    EXPECT_EQ(taken, 1024u + 4096u);
    ms_ += Screen::patience_ms - 1;
    (void)screen_->pass_on(ms_);
    EXPECT_FALSE(screen_->has_room());
    EXPECT_EQ(screen_->deaf_at(), ms_ + 1);
    (void)screen_->pass_on(++ms_);
    EXPECT_TRUE(screen_->has_room());
    type("yyy\x1dn");
    EXPECT_EQ(screen_->attached(), node);
    EXPECT_NE(shown().find("[4099 bytes that were typed were dropped: nobody took them]"),
              std::string::npos);
    type("list");
    EXPECT_EQ(typed(node), "list");
}

// Nobody reads the line: the guest's output is dropped after a while, with a count, and nobody waits.
TEST_F(ScreenTest, OutputThatNobodyTakesIsDroppedWithACount) {
    const unsigned init = log("init", channel_flag::trusted), vm = terminal("vm");
    std::string all;
    const auto say = [&](const std::string& text) {
        put(vm, text);
        all += text;
    };
    say(std::string(16'000, 'a'));
    stall(Outgoing::patience_ms - 1);
    EXPECT_LT(at(vm).output.room(), 10'000u) << "for a moment it waits";
    stall(10);
    EXPECT_TRUE(screen_out_.is_stuck());
    EXPECT_TRUE(at(vm).output.is_empty());
    for (int i = 0; i < 10; ++i) {
        say(std::string(10'000, static_cast<char>('b' + i)));
        put(init, "line\n");
        stall(20);
        EXPECT_TRUE(at(vm).output.is_empty());
        EXPECT_TRUE(at(init).output.is_empty());
    }
    const std::string text = shown();
    unsigned dropped = 0;
    const auto at = text.find("\r\n[");
    ASSERT_NE(at, std::string::npos);
    ASSERT_EQ(std::sscanf(text.c_str() + at, "\r\n[%u bytes of output were dropped", &dropped), 1);
    EXPECT_GT(dropped, all.size() - 10'000);
    EXPECT_LT(dropped, all.size());
    EXPECT_GE(std::count(text.begin(), text.end(), 'k'), 4096) << "the latest is there";
    put(vm, "alive");
    EXPECT_EQ(shown(), "alive");
}

TEST_F(ScreenTest, ATerminalThatGoesGivesWayToTheNext) {
    const unsigned vm = terminal("vm"), node = terminal("node");
    put(vm, "last");
    (void)shown();
    screen_->forget(vm);
    channels_->remove(vm);
    screen_->look_for_terminal();
    EXPECT_EQ(screen_->attached(), node);
    EXPECT_NE(shown().find("[console of node"), std::string::npos);
    // Its place begins anew.
    ASSERT_TRUE(channels_->add(vm, ChannelKind::terminal, "new", 0, at(vm)));
    screen_->attach(vm);
    put(vm, "fresh");
    EXPECT_EQ(shown(), "\r\n[console of new; Ctrl-] n: next]\r\nfresh");
}

}  // namespace
}  // namespace margay::console
