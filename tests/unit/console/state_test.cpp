// What a console leaves to its successor, as it is and damaged.
#include "servers/console/state.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>
#include <string>

namespace margay::console {
namespace {

struct Nobody final : Clients {
    void notify(unsigned) override {}
};

constexpr unsigned terminal = 0, log = 1, control = 2, channels = 3;
constexpr ChannelKind kinds[] = {ChannelKind::terminal, ChannelKind::log, ChannelKind::control};
constexpr const char* names[] = {"vm", "vm", "ctl"};

class StateTest : public testing::Test {
  protected:
    StateTest() {
        new (kept_.get()) State{clients_, true, 1000};
        for (unsigned i = 0; i < channels; ++i)
            EXPECT_TRUE(state().channels.add(i, kinds[i], names[i], 0, memory_[i], 2 * i + 1));
        state().screen.look_for_terminal();
    }
    State& state() { return *reinterpret_cast<State*>(kept_.get()); }

    // Another console begins. False: it could not go on with what there was.
    bool next_console() {
        Channels& c = state().channels;
        c.begin_resume(clients_, state().undo);
        for (unsigned i = 0; i < max_channels; ++i) {
            if (i < channels && c.since(i) == 2 * i + 1)
                c.keep(i, kinds[i], names[i], 0, memory_[i]);
            else
                c.remove(i);
        }
        if (!state().resume(clients_, true, 1000, now_)) return false;
        for (unsigned i = 0; i < channels; ++i)
            if (!c.has(i)) (void)c.add(i, kinds[i], names[i], 0, memory_[i], 2 * i + 1);
        state().screen.look_for_terminal();
        return true;
    }
    void turn() {
        ++now_;
        State& s = state();
        (void)s.screen.pass_on(now_);
        (void)s.port.pass_on(now_);
        s.channels.begin_turn();
        s.screen.keep();
        s.port.keep();
        (void)s.channels.move(now_);
        (void)s.screen.show();
        (void)s.port.show();
        for (unsigned i = 0; i < 2; ++i)
            for (Outgoing& out = s.out[i]; !out.is_empty(); out.pop()) sent_[i] += out.front();
    }
    void put(unsigned channel, const std::string& text) {
        for (const char c : text) (void)memory_[channel].output.put(c);
    }
    void receive(char type, const std::string& payload) {
        frame::write(
            [this](char c) {
                state().port.receive(c, now_);
                state().undo.commit();
            },
            type, 1, payload);
    }
    void press(char c) {
        state().screen.type(c);
        state().undo.commit();
    }
    std::string typed(unsigned channel) {
        std::string s;
        char c;
        while (memory_[channel].input.get(c)) s += c;
        return s;
    }

    Nobody clients_;
    std::unique_ptr<std::byte[]> kept_{new std::byte[sizeof(State)]};
    ConsoleChannel memory_[channels];
    std::uint64_t now_ = 1;
    std::string sent_[2];
};

TEST_F(StateTest, AnotherConsoleGoesOn) {
    receive(frame::type::open, "console vm");
    put(terminal, "one");
    turn();
    put(terminal, " two");
    put(log, "half a ");
    turn();
    put(terminal, " three\n");
    press('a');
    receive(frame::type::data, "b");
    ASSERT_TRUE(next_console());
    put(log, "line\n");
    turn();
    EXPECT_EQ(sent_[0], "one two three\n[vm] half a line\r\n");
    EXPECT_EQ(typed(terminal), "ab");
    std::string output;
    frame::Reader reader;
    for (const char c : sent_[1])
        if (reader.take(c) == frame::Reader::Found::frame && reader.type() == frame::type::output)
            output += reader.payload();
    EXPECT_EQ(output, "one two three\n");
}

TEST_F(StateTest, AStepThatWasUnderWayIsTakenBack) {
    put(terminal, "x");
    turn();
    State& s = state();
    const std::uint64_t before = s.channels.log().end();
    s.undo.save(s.channels.log().saved_end());
    s.channels.log().saved_end() += 5;
    s.undo.save(s.out[0].ends());
    s.out[0].put('?');
    ASSERT_TRUE(next_console());
    turn();
    EXPECT_EQ(s.channels.log().end(), before);
    EXPECT_EQ(sent_[0], "x");
}

// Whatever bytes it finds, it stays within bounds, and what clients put from then on is shown.
TEST_F(StateTest, DamagedMemory) {
    std::mt19937_64 random{1};
    unsigned refused = 0;
    for (int round = 0; round < 4000; ++round) {
        receive(frame::type::open, "console vm");
        put(terminal, "some text\n");
        put(log, "a line\n");
        turn();
        for (auto n = random() % 40 + 1; n != 0; --n) {
            auto at = random() % sizeof(State);
            // Often what is not the contents of a history.
            if (random() % 2 == 0) at = random() % 4096;
            if (random() % 4 == 0) at = sizeof(State) - 1 - random() % 60'000;
            kept_[at] = static_cast<std::byte>(random());
        }
        if (!next_console()) {
            ++refused;
            new (kept_.get()) State{clients_, true, 1000};
            for (unsigned i = 0; i < channels; ++i)
                ASSERT_TRUE(state().channels.add(i, kinds[i], names[i], 0, memory_[i], 2 * i + 1));
            state().screen.look_for_terminal();
        }
        receive(frame::type::data, "typed");
        press('x');
        for (int n = 0; n < 4; ++n) turn();
        put(terminal, "behind it");
        for (int n = 0; n < 4; ++n) turn();
        ASSERT_TRUE(state().channels.is_terminal(terminal));
        sent_[0].clear(), sent_[1].clear();
        (void)typed(terminal);
    }
    EXPECT_GT(refused, 0u);
}

}  // namespace
}  // namespace margay::console
