#include "servers/console/channels.hpp"

#include <cstring>
#include <random>
#include <sstream>

#include "tests/unit/console/console_fixture.hpp"

namespace margay::console {
namespace {

using ChannelsTest = ConsoleTest;

TEST_F(ChannelsTest, LogLinesStayWholeAndCarryTheirServersName) {
    const unsigned a = log("a"), b = log("b");
    put(a, "half of a");
    put(b, "b\nhalf of b");
    EXPECT_EQ(shown(), "[b] b\r\n");
    put(a, " line\n");
    put(b, " line\n");
    EXPECT_EQ(shown(), "[a] half of a line\r\n[b] half of b line\r\n");
}

TEST_F(ChannelsTest, ATrustedServersLinesAreAsTheyAre) {
    const unsigned init = log("init", channel_flag::trusted);
    put(init, "margay: starting\n");
    EXPECT_EQ(shown(), "margay: starting\r\n");
}

TEST_F(ChannelsTest, NoLineLooksLikeAnothersOrMovesTheCursor) {
    const unsigned vm = log("vm");
    put(vm, "a\rmargay: b\x1b[2J\x7f\tc\xc2\x9b"
            "1m\n");
    EXPECT_EQ(shown(), "[vm] a?margay: b?[2J?\tc\xc2?1m\r\n");
}

TEST_F(ChannelsTest, LinesOfDifferentServersSortByTheirTimes) {
    const unsigned a = log("a"), b = log("b"), c = log("c");
    put_at(a, 300, "third\n");
    put_at(b, 100, "first\n");
    put_at(b, 400, "fourth\n");
    put_at(c, 200, "second\n");
    EXPECT_EQ(shown(), "[b] first\r\n[c] second\r\n[a] third\r\n[b] fourth\r\n");
}

TEST_F(ChannelsTest, ATimeFromTheFutureHoldsNobodyUp) {
    const unsigned liar = log("liar"), b = log("b");
    put_at(liar, ~0ull, "one\n");
    put_at(liar, 1, "two\n");
    put_at(b, tsc_ - 1, "b\n");
    EXPECT_EQ(shown(), "[b] b\r\n[liar] one\r\n[liar] two\r\n");
}

TEST_F(ChannelsTest, ATimeInTheMidstOfALineEndsIt) {
    const unsigned a = log("a");
    put_at(a, 1, "the end of this had no room");
    put_at(a, 2, "next\n");
    EXPECT_EQ(shown(), "[a] the end of this had no room\r\n[a] next\r\n");
}

TEST_F(ChannelsTest, LongLinesAreCutIntoPieces) {
    const unsigned a = log("a", channel_flag::trusted);
    constexpr unsigned most = LogLine::max_bytes;
    put(a, std::string(most + 5, 'x') + "\n");
    EXPECT_EQ(shown(), std::string(most, 'x') + "\r\nxxxxx\r\n");
    put(a, std::string(most, 'y') + "\nz\n");
    EXPECT_EQ(shown(), std::string(most, 'y') + "\r\nz\r\n") << "no empty line behind it";
    put(a, "\n");
    EXPECT_EQ(shown(), "\r\n");
}

TEST_F(ChannelsTest, ALineComesBehindWhatItsGuestSaidBefore) {
    const unsigned init = log("init", channel_flag::trusted);
    const unsigned vm = terminal("vm");
    std::string last_words(12'000, 'w');
    put(vm, last_words);
    put(init, "margay: guest vm powered off\n");
    EXPECT_EQ(shown(), last_words + "\r\nmargay: guest vm powered off\r\n");
}

// A guest that prints without end: lines of servers come all the same.
TEST_F(ChannelsTest, NobodyWhoPrintsWithoutEndKeepsOthersWaiting) {
    const unsigned vm = terminal("vm"), other = terminal("other");
    const unsigned init = log("init", channel_flag::trusted), endless = log("endless");
    put(init, "news\n");
    put(other, "here as well");
    std::string all;
    unsigned turns = 0;
    for (; all.find("news\r\n") == std::string::npos && turns < 100; ++turns) {
        while (at(vm).output.put('x')) {}
        while (at(endless).output.room() > 10) put(endless, "line\n");
        (void)turn();
        all += take(screen_out_);
    }
    EXPECT_LT(turns, 100u);
    EXPECT_EQ(channels_->history(other).end(), 12u);
}

TEST_F(ChannelsTest, ARunawayRingIsSkipped) {
    const unsigned vm = terminal("vm"), a = log("a");
    for (const unsigned i : {vm, a}) {
        reinterpret_cast<std::atomic<std::uint32_t>&>(at(i).output) = 0x8000'0000;
        EXPECT_EQ(shown(), "");
        put(i, "again\n");
        EXPECT_NE(shown().find("again"), std::string::npos);
    }
}

// What a client has written over the console's own index is put right: its ring would be full for ever.
TEST_F(ChannelsTest, AnIndexThatIsWrittenOverIsPutRight) {
    const unsigned vm = terminal("vm"), a = log("a");
    for (const unsigned i : {vm, a}) {
        put(i, "first\n");
        EXPECT_NE(shown().find("first"), std::string::npos);
        (&reinterpret_cast<std::atomic<std::uint32_t>&>(at(i).output))[1] = 0x8000'0000;
        EXPECT_FALSE(at(i).output.put('x'));
        EXPECT_EQ(shown(), "");
        put(i, "again\n");
        EXPECT_NE(shown().find("again"), std::string::npos);
    }
}

TEST_F(ChannelsTest, ComeAndGo) {
    for (unsigned round = 0; round < 3; ++round) {
        for (unsigned i = 0; i < max_channels; ++i) {
            auto memory = std::make_unique<ConsoleChannel>();
            const bool is_terminal = i % 2 == 0;
            const ChannelKind kind = is_terminal ? ChannelKind::terminal : ChannelKind::log;
            ASSERT_TRUE(channels_->add(i, kind, "vm" + std::to_string(i), 0, *memory));
            ASSERT_FALSE(channels_->add(i, kind, "twice", 0, *memory));
            memory_.push_back(std::move(memory));
        }
        ConsoleChannel extra;
        ASSERT_FALSE(channels_->add(max_channels, ChannelKind::log, "extra", 0, extra));
        EXPECT_EQ(channels_->find(ChannelKind::terminal, "vm510"), 510u);
        EXPECT_EQ(channels_->find(ChannelKind::log, "vm510"), no_channel);
        EXPECT_EQ(channels_->name(7), "vm7");
        (void)turn();
        for (unsigned i = 0; i < max_channels; ++i) channels_->remove(i);
        EXPECT_EQ(channels_->limit(), 0u);
        EXPECT_FALSE(turn());
        memory_.clear();
    }
}

TEST_F(ChannelsTest, OnlySoManyTerminals) {
    for (unsigned i = 0; i < max_terminals; ++i) terminal("t");
    ConsoleChannel extra;
    EXPECT_FALSE(channels_->add(400, ChannelKind::terminal, "extra", 0, extra));
    channels_->remove(3);
    EXPECT_TRUE(channels_->add(400, ChannelKind::terminal, "extra", 0, extra));
    channels_->remove(400);
}

TEST_F(ChannelsTest, AClientThatWantsToIsToldWhenAllIsTaken) {
    const unsigned node = terminal("node", channel_flag::tells_room), vm = terminal("vm");
    put(node, "prompt");
    put(vm, "x");
    (void)shown();
    EXPECT_TRUE(told_.has(node));
    EXPECT_FALSE(told_.has(vm));
}

TEST_F(ChannelsTest, Doorbells) {
    const unsigned a = log("a"), vm = terminal("vm");
    channels_->doorbells(false);
    EXPECT_EQ(at(a).wants_doorbell + at(vm).wants_doorbell, 0u);
    channels_->doorbells(true);
    EXPECT_EQ(at(a).wants_doorbell + at(vm).wants_doorbell, 2u);
}

// However lines of many servers come in pieces, each comes out whole and in its server's order.
TEST_F(ChannelsTest, RandomPiecesComeOutAsWholeLines) {
    std::mt19937 random{2};
    std::vector<unsigned> logs;
    for (unsigned i = 0; i < 6; ++i) logs.push_back(log("s" + std::to_string(i)));
    std::vector<std::string> todo(6);
    std::vector<unsigned> next(6), seen(6);
    std::string all;
    for (unsigned n = 0; n < 3000; ++n) {
        const unsigned i = random() % 6;
        if (todo[i].empty()) todo[i] = "line " + std::to_string(next[i]++) + "\n";
        const std::size_t piece = std::min<std::size_t>(todo[i].size(), 1 + random() % 12);
        put(logs[i], todo[i].substr(0, piece));
        todo[i].erase(0, piece);
        if (random() % 3 == 0) all += shown();
    }
    all += shown();
    std::istringstream lines{all};
    std::string line;
    while (std::getline(lines, line)) {
        unsigned server = 0, number = 0;
        ASSERT_EQ(std::sscanf(line.c_str(), "[s%u] line %u", &server, &number), 2) << line;
        ASSERT_EQ(line, "[s" + std::to_string(server) + "] line " + std::to_string(number) + "\r");
        ASSERT_EQ(number, seen[server]++);
    }
}

TEST(LogBook, KeepsTheLatestLines) {
    const auto book = std::make_unique<LogBook>();
    LogBook::Position slow = book->begin();
    std::mt19937 random{4};
    for (unsigned n = 0; n < 5000; ++n) {
        LogLine line{};
        line.stamp = n;
        line.length = random() % (LogLine::max_bytes + 1);
        std::memset(line.text, 'a' + n % 26, line.length);
        book->add(line);
    }
    LogLine line;
    bool lost = false;
    ASSERT_TRUE(book->read(slow, line, lost));
    EXPECT_TRUE(lost);
    std::uint64_t stamp = line.stamp;
    EXPECT_GT(stamp, 4000u);
    while (book->read(slow, line, lost)) {
        ASSERT_FALSE(lost);
        ASSERT_EQ(line.stamp, ++stamp);
        for (const char c : line.view()) ASSERT_EQ(c, static_cast<char>('a' + stamp % 26));
    }
    EXPECT_EQ(stamp, 4999u);
}

}  // namespace
}  // namespace margay::console
