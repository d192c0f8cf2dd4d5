#include "servers/console/multiplexer.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace margay::console {
namespace {

struct Sink : SerialSink {
    std::string text;
    void put(char c) override { text += c; }
    std::string take() { return std::exchange(text, {}); }
};

class Console : public testing::Test {
  protected:
    ConsoleChannel& add(ChannelKind kind, const char* name, bool may_attach = true) {
        channels_.push_back(std::make_unique<ConsoleChannel>());
        ChannelInfo info;
        info.channel = channels_.back().get();
        info.kind = kind;
        std::strncpy(info.name, name, sizeof(info.name) - 1);
        EXPECT_TRUE(mux_->add(info, may_attach));
        return *info.channel;
    }
    static void put(ConsoleChannel& c, const std::string& text) {
        for (const char x : text) ASSERT_TRUE(c.output.put(x));
    }
    std::string shown() {
        mux_->drain();
        return sink_.take();
    }
    static std::string typed(ConsoleChannel& c) {
        std::string s;
        char x;
        while (c.input.get(x)) s += x;
        return s;
    }

    Sink sink_;
    std::unique_ptr<Multiplexer> mux_ = std::make_unique<Multiplexer>(sink_);
    std::vector<std::unique_ptr<ConsoleChannel>> channels_;
};

TEST_F(Console, FirstTerminalIsAttached) {
    add(ChannelKind::log, "pmem");
    ConsoleChannel& vm = add(ChannelKind::terminal, "linux");
    EXPECT_EQ(mux_->attached(), 1u);
    put(vm, "login: ");
    EXPECT_EQ(shown(), "login: ");
    EXPECT_FALSE(mux_->drain());
    EXPECT_TRUE(mux_->all_empty());
}

TEST_F(Console, LogLinesStayWhole) {
    ConsoleChannel& a = add(ChannelKind::log, "a");
    ConsoleChannel& b = add(ChannelKind::log, "b");
    put(a, "half of a");
    put(b, "b\nhalf of b");
    EXPECT_EQ(shown(), "b\r\n");
    put(a, " line\n");
    put(b, " line\n");
    // The first channel is init, which speaks about all others: it comes last.
    EXPECT_EQ(shown(), "half of b line\r\nhalf of a line\r\n");
}

TEST_F(Console, LogLineStartsOnALineOfItsOwn) {
    ConsoleChannel& log = add(ChannelKind::log, "init");
    ConsoleChannel& vm = add(ChannelKind::terminal, "vm");
    put(vm, "$ ls");
    EXPECT_EQ(shown(), "$ ls");
    put(log, "news\n");
    EXPECT_EQ(shown(), "\r\nnews\r\n");
    put(vm, "\r\n");
    put(log, "more\n");
    EXPECT_EQ(shown(), "\r\nmore\r\n") << "terminals come first";
}

TEST_F(Console, LongLinesAreCutIntoPieces) {
    ConsoleChannel& log = add(ChannelKind::log, "init");
    put(log, std::string(Multiplexer::line_bytes + 5, 'x') + "\n");
    EXPECT_EQ(shown(), std::string(Multiplexer::line_bytes, 'x') + "\r\nxxxxx\r\n");
    put(log, std::string(Multiplexer::line_bytes, 'y') + "\nz\n");
    EXPECT_EQ(shown(), std::string(Multiplexer::line_bytes, 'y') + "\r\nz\r\n")
        << "no empty line behind it";
    put(log, "\n");
    EXPECT_EQ(shown(), "\r\n");
}

TEST_F(Console, DetachedTerminalIsKeptAndShownOnAttach) {
    ConsoleChannel& one = add(ChannelKind::terminal, "one");
    ConsoleChannel& two = add(ChannelKind::terminal, "two");
    put(one, "1");
    put(two, "hidden");
    EXPECT_EQ(shown(), "1");
    mux_->attach(1);
    const std::string text = sink_.take();
    EXPECT_NE(text.find("console of two"), std::string::npos);
    EXPECT_EQ(text.substr(text.size() - 6), "hidden");
    put(one, "kept");
    put(two, "2");
    EXPECT_EQ(shown(), "2");
    mux_->attach(1);
    EXPECT_EQ(sink_.take().find("hidden"), std::string::npos) << "shown once";
    mux_->attach(0);
    EXPECT_NE(sink_.take().find("kept"), std::string::npos);
}

TEST_F(Console, HistoryKeepsTheLatest) {
    add(ChannelKind::terminal, "one");
    ConsoleChannel& two = add(ChannelKind::terminal, "two");
    std::string all;
    std::mt19937 random{1};
    while (all.size() < 3 * Multiplexer::history_bytes) {
        std::string piece(random() % 3000, static_cast<char>('a' + random() % 26));
        put(two, piece);
        all += piece;
        EXPECT_EQ(shown(), "");
    }
    mux_->attach(1);
    const std::string text = sink_.take();
    EXPECT_EQ(text.substr(text.size() - Multiplexer::history_bytes),
              all.substr(all.size() - Multiplexer::history_bytes));
    EXPECT_EQ(text.find("]\r\n") + 3, text.size() - Multiplexer::history_bytes);
}

// The node console is added behind the VMs.
TEST_F(Console, TheNodeConsoleIsAttachedIfNoVmIs) {
    add(ChannelKind::terminal, "linux", false);
    add(ChannelKind::log, "linux");
    ConsoleChannel& node = add(ChannelKind::terminal, "node");
    EXPECT_EQ(mux_->attached(), 2u);
    put(node, "margay> ");
    EXPECT_EQ(shown(), "margay> ");
    mux_->type(Multiplexer::escape);
    mux_->type('n');
    EXPECT_EQ(mux_->attached(), 0u);
    mux_->type(Multiplexer::escape);
    mux_->type('n');
    EXPECT_EQ(mux_->attached(), 2u);
}

TEST_F(Console, AttachRefusesLogsAndUnknownChannels) {
    add(ChannelKind::terminal, "vm");
    add(ChannelKind::log, "log");
    mux_->attach(1);
    mux_->attach(2);
    mux_->attach(~0u);
    mux_->attach(max_channels);
    EXPECT_EQ(mux_->attached(), 0u);
    EXPECT_EQ(sink_.text, "");
}

TEST_F(Console, InputGoesToTheAttachedOne) {
    ConsoleChannel& one = add(ChannelKind::terminal, "one");
    ConsoleChannel& log = add(ChannelKind::log, "log");
    ConsoleChannel& two = add(ChannelKind::terminal, "two");
    EXPECT_EQ(mux_->type('a'), 0);
    EXPECT_EQ(mux_->type(Multiplexer::escape), -1);
    EXPECT_EQ(mux_->type('n'), -1);
    EXPECT_EQ(mux_->attached(), 2u) << "over the log";
    EXPECT_EQ(mux_->type('b'), 2);
    mux_->type(Multiplexer::escape);
    mux_->type('x');
    EXPECT_EQ(mux_->attached(), 0u) << "around";
    EXPECT_EQ(typed(one), "a");
    EXPECT_EQ(typed(two), "b");
    EXPECT_EQ(typed(log), "");
}

TEST_F(Console, EscapeTwiceSendsOne) {
    ConsoleChannel& vm = add(ChannelKind::terminal, "vm");
    EXPECT_EQ(mux_->type(Multiplexer::escape), -1);
    EXPECT_EQ(mux_->type(Multiplexer::escape), 0);
    EXPECT_EQ(mux_->type('q'), 0);
    EXPECT_EQ(typed(vm), std::string{Multiplexer::escape} + "q");
}

TEST_F(Console, WithoutTerminalsInputIsDropped) {
    EXPECT_EQ(mux_->type('a'), -1);
    mux_->type(Multiplexer::escape);
    EXPECT_EQ(mux_->type('n'), -1);
    add(ChannelKind::log, "log");
    mux_->type(Multiplexer::escape);
    EXPECT_EQ(mux_->type('n'), -1);
    EXPECT_EQ(mux_->type('a'), -1);
}

TEST_F(Console, FullInputRingDropsAndRecovers) {
    ConsoleChannel& vm = add(ChannelKind::terminal, "vm");
    for (unsigned i = 0; i < 1024; ++i) EXPECT_EQ(mux_->type('i'), 0);
    EXPECT_EQ(mux_->type('!'), -1);
    EXPECT_EQ(typed(vm), std::string(1024, 'i'));
    EXPECT_EQ(mux_->type('j'), 0);
}

TEST_F(Console, BrokenClientEndsWithItsTurn) {
    ConsoleChannel& vm = add(ChannelKind::terminal, "vm");
    ConsoleChannel& log = add(ChannelKind::log, "log");
    // Its index runs away: nothing of that is shown, and it goes on from there.
    for (ConsoleChannel* c : {&vm, &log}) {
        reinterpret_cast<std::atomic<std::uint32_t>&>(c->output) = 0x8000'0000;
        EXPECT_FALSE(mux_->drain());
        EXPECT_EQ(sink_.take(), "");
        put(*c, "again\n");
        EXPECT_EQ(shown().substr(0, 5), "again");
    }
}

TEST_F(Console, DoorbellsAndLimit) {
    for (unsigned i = 0; i < max_channels; ++i) add(ChannelKind::log, "log");
    ConsoleChannel extra;
    ChannelInfo info;
    info.channel = &extra;
    EXPECT_FALSE(mux_->add(info));
    mux_->doorbells(false);
    for (const auto& c : channels_) EXPECT_EQ(c->wants_doorbell.load(), 0u);
    mux_->doorbells(true);
    for (const auto& c : channels_) EXPECT_EQ(c->wants_doorbell.load(), 1u);
}

// However lines of many servers come in pieces, each comes out whole and in its server's order.
TEST_F(Console, RandomPiecesComeOutAsWholeLines) {
    std::mt19937 random{2};
    std::vector<ConsoleChannel*> logs;
    for (unsigned i = 0; i < 6; ++i) logs.push_back(&add(ChannelKind::log, "log"));
    std::vector<std::string> todo(6);
    std::vector<unsigned> next(6), seen(6);
    std::string all;
    for (unsigned n = 0; n < 3000; ++n) {
        const unsigned i = random() % 6;
        if (todo[i].empty())
            todo[i] = "server " + std::to_string(i) + " line " + std::to_string(next[i]++) + "\n";
        const std::size_t piece = std::min<std::size_t>(todo[i].size(), 1 + random() % 12);
        put(*logs[i], todo[i].substr(0, piece));
        todo[i].erase(0, piece);
        if (random() % 3 == 0) all += shown();
    }
    all += shown();
    std::istringstream lines{all};
    std::string line;
    while (std::getline(lines, line)) {
        unsigned server = 0, number = 0;
        ASSERT_EQ(std::sscanf(line.c_str(), "server %u line %u", &server, &number), 2) << line;
        ASSERT_EQ(line,
                  "server " + std::to_string(server) + " line " + std::to_string(number) + "\r");
        ASSERT_EQ(number, seen[server]++);
    }
}

}  // namespace
}  // namespace margay::console
