#include "servers/console/raw_line.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>

namespace margay::console {
namespace {

struct Port : RawPort {
    std::string received, sent;
    std::size_t next = 0, room = ~std::size_t{0};
    bool endless = false;

    bool try_put(char c) override {
        if (room == 0) return false;
        --room;
        sent += c;
        return true;
    }
    bool get(char& c) override {
        c = 'e';
        if (endless) return true;
        if (next == received.size()) return false;
        c = received[next++];
        return true;
    }
};

class Raw : public testing::Test {
  protected:
    std::string taken() {
        std::string s;
        char c;
        while (channel_->input.get(c)) s += c;
        return s;
    }

    Port port_;
    std::unique_ptr<ConsoleChannel> channel_ = std::make_unique<ConsoleChannel>();
    RawLine line_{port_, *channel_};
};

TEST_F(Raw, EveryByteGoesBothWaysAsItIs) {
    std::string all;
    for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
    for (char c : all) ASSERT_TRUE(channel_->output.put(c));
    port_.received = all;
    const RawLine::Turn turn = line_.move();
    EXPECT_TRUE(turn.moved && turn.received && !turn.waiting);
    EXPECT_EQ(port_.sent, all);
    EXPECT_EQ(taken(), all);
    const RawLine::Turn idle = line_.move();
    EXPECT_FALSE(idle.moved || idle.received || idle.waiting);
}

TEST_F(Raw, ASlowLineKeepsTheRest) {
    for (char c : std::string{"abcdef"}) channel_->output.put(c);
    port_.room = 2;
    EXPECT_TRUE(line_.move().waiting);
    const RawLine::Turn stuck = line_.move();
    EXPECT_TRUE(stuck.waiting && !stuck.moved);
    port_.room = 100;
    EXPECT_FALSE(line_.move().waiting);
    EXPECT_EQ(port_.sent, "abcdef");
}

TEST_F(Raw, AFullInputRingKeepsTheRestInTheUart) {
    for (int i = 0; i < 3000; ++i) port_.received += static_cast<char>('a' + i % 26);
    std::string got;
    for (int i = 0; i < 3; ++i) {
        const RawLine::Turn turn = line_.move();
        EXPECT_EQ(turn.waiting, i < 2);
        got += taken();
    }
    EXPECT_EQ(got, port_.received);
}

TEST_F(Raw, ALineThatNeverStopsEndsTheTurn) {
    port_.endless = true;
    EXPECT_TRUE(line_.move().waiting);
    EXPECT_EQ(taken().size(), 1024u);
    // A client whose index runs away.
    reinterpret_cast<std::atomic<std::uint32_t>&>(channel_->output) = 0x8000'0000;
    EXPECT_TRUE(line_.move().waiting);
    EXPECT_EQ(port_.sent, "");
}

TEST_F(Raw, NothingIsLostOrDoubledWhateverTheSpeeds) {
    std::mt19937 random{3};
    std::string put, got;
    for (int i = 0; i < 20000; ++i) port_.received += static_cast<char>(random());
    while (port_.next < port_.received.size() || put.size() < 20000 ||
           port_.sent.size() < put.size()) {
        for (unsigned n = random() % 40; n != 0; --n) {
            const char c = static_cast<char>(random());
            if (put.size() < 20000 && channel_->output.put(c)) put += c;
        }
        port_.room = random() % 64;
        (void)line_.move();
        char c;
        for (unsigned n = random() % 64; n != 0 && channel_->input.get(c); --n) got += c;
    }
    port_.room = 0;
    (void)line_.move();
    got += taken();
    (void)line_.move();
    got += taken();
    EXPECT_EQ(got, port_.received);
    EXPECT_EQ(port_.sent, put);
}

}  // namespace
}  // namespace margay::console
