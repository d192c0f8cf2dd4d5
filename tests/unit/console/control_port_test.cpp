#include "servers/console/control_port.hpp"

#include <random>

#include "tests/unit/console/console_fixture.hpp"

namespace margay::console {
namespace {

struct Frame {
    char type;
    std::uint16_t stream;
    std::string payload;
    std::uint32_t number() const { return frame::number_at(payload.data(), 4); }
};

class ControlPortTest : public ConsoleTest {
  protected:
    void SetUp() override { control_ = add(ChannelKind::control, "ctl", channel_flag::tells_room); }

    void receive(const std::string& bytes) {
        for (const char c : bytes) {
            ASSERT_TRUE(port_->has_room());
            take(c, ms_);
        }
        (void)port_->pass_on(ms_);
    }
    void send(char type, std::uint16_t stream, std::string_view payload = {}) {
        std::string s;
        frame::write([&](char c) { s += c; }, type, stream, payload);
        receive(s);
    }
    // What comes out; text_ has what lies between the frames.
    std::vector<Frame> frames() {
        std::vector<Frame> all;
        for (const char c : second()) switch (reader_.take(c)) {
            case frame::Reader::Found::text: text_ += c; break;
            case frame::Reader::Found::frame:
                all.push_back({reader_.type(), reader_.stream(), std::string{reader_.payload()}});
                break;
            case frame::Reader::Found::damaged: ADD_FAILURE(); break;
            case frame::Reader::Found::nothing: break;
            }
        return all;
    }
    std::string output(std::uint16_t stream) {
        std::string all;
        for (const Frame& f : frames())
            if (f.type == frame::type::output && f.stream == stream) all += f.payload;
        return all;
    }

    unsigned control_ = 0;
    frame::Reader reader_;
    std::string text_;
};

TEST_F(ControlPortTest, LinesGoBothWaysAsTheyAre) {
    receive("{\"id\":1}\n");
    EXPECT_EQ(typed(control_), "{\"id\":1}\n");
    EXPECT_TRUE(told_.has(control_));
    put(control_, "{\"ok\":true}\n");
    EXPECT_EQ(second(), "{\"ok\":true}\n");
}

TEST_F(ControlPortTest, AConsoleShowsWhatWasThereAndWhatComes) {
    const unsigned vm = terminal("linux");
    put(vm, "login: ");
    (void)shown();
    send(frame::type::open, 5, "console linux");
    const auto first = frames();
    ASSERT_EQ(first.size(), 2u);
    EXPECT_EQ(first[0].type, frame::type::opened);
    EXPECT_EQ(first[0].number(), ControlPort::window);
    EXPECT_EQ(first[1].payload, "login: ");
    put(vm, "more");
    EXPECT_EQ(output(5), "more");
    send(frame::type::close, 5);
    put(vm, "unseen");
    EXPECT_EQ(output(5), "");
}

TEST_F(ControlPortTest, SeveralConsolesAtOnce) {
    const unsigned a = terminal("a"), b = terminal("b");
    send(frame::type::open, 1, "console a");
    send(frame::type::open, 2, "console b");
    send(frame::type::open, 3, "console a");
    (void)frames();
    put(a, "AAA");
    put(b, "BBB");
    std::string got[4];
    for (const Frame& f : frames()) got[f.stream] += f.payload;
    EXPECT_EQ(got[1], "AAA");
    EXPECT_EQ(got[2], "BBB");
    EXPECT_EQ(got[3], "AAA");
    send(frame::type::data, 2, "to b");
    send(frame::type::data, 3, "to a");
    EXPECT_EQ(typed(a), "to a");
    EXPECT_EQ(typed(b), "to b");
}

TEST_F(ControlPortTest, WhatCannotBeOpenedIsRefusedWithAReason) {
    log("pmem");
    send(frame::type::open, 1, "console none");
    send(frame::type::open, 2, "console pmem");
    send(frame::type::open, 3, "nonsense");
    send(frame::type::open, 4, "log none");
    const auto all = frames();
    ASSERT_EQ(all.size(), 4u);
    for (const Frame& f : all) {
        EXPECT_EQ(f.type, frame::type::refused);
        EXPECT_FALSE(f.payload.empty());
    }
    EXPECT_EQ(port_->streams(), 0u);
}

TEST_F(ControlPortTest, OnlySoManyStreams) {
    terminal("vm");
    for (std::uint16_t i = 0; i < ControlPort::max_streams; ++i)
        send(frame::type::open, i, "console vm");
    (void)frames();
    send(frame::type::open, 99, "console vm");
    const auto all = frames();
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].type, frame::type::refused);
    send(frame::type::reset, 0);
    EXPECT_EQ(port_->streams(), 0u);
}

// A window's worth may be typed ahead; with what is granted 20 000 bytes arrive at a slow reader.
TEST_F(ControlPortTest, TypingHasAWindow) {
    const unsigned vm = terminal("vm");
    send(frame::type::open, 1, "console vm");
    std::uint32_t window = frames()[0].number();
    std::mt19937 random{8};
    std::string sent, got;
    while (got.size() < 20'000) {
        std::string piece;
        while (sent.size() < 20'000 && piece.size() < window && piece.size() < 200) {
            sent += static_cast<char>('a' + random() % 26);
            piece += sent.back();
        }
        window -= static_cast<std::uint32_t>(piece.size());
        if (!piece.empty()) send(frame::type::data, 1, piece);
        char c;
        for (unsigned n = random() % 300; n != 0 && at(vm).input.get(c); --n) got += c;
        for (const Frame& f : frames())
            if (f.type == frame::type::window) window += f.number();
        ASSERT_LE(window, ControlPort::window);
    }
    EXPECT_EQ(got, sent);
}

TEST_F(ControlPortTest, TheLogAndItsPast) {
    const unsigned init = log("init", channel_flag::trusted), vm = log("linux"),
                   other = log("linux2");
    put_at(init, 1'500'000, "margay: starting guest linux\n");
    put_at(vm, 2'000'000, "guest failure\n");
    put_at(other, 3'000'000, "nothing\n");
    put_at(init, 4'000'000, "margay: starting guest linux2\n");
    (void)shown();
    send(frame::type::open, 1, "log");
    const auto all = frames();
    ASSERT_EQ(all.size(), 3u);
    EXPECT_EQ(all[1].payload, "[    0.001500] margay: starting guest linux\n"
                              "[    0.002000] linux: guest failure\n"
                              "[    0.003000] linux2: nothing\n"
                              "[    0.004000] margay: starting guest linux2\n");
    EXPECT_EQ(all[2].type, frame::type::closed);
    send(frame::type::open, 1, "log linux");
    EXPECT_EQ(frames()[1].payload, "[    0.001500] margay: starting guest linux\n"
                                   "[    0.002000] linux: guest failure\n");
    send(frame::type::open, 2, "follow linux");
    (void)frames();
    put_at(other, 5'000'000, "nothing\n");
    put_at(vm, 6'000'000, "more\n");
    EXPECT_EQ(output(2), "[    0.006000] linux: more\n");
}

TEST_F(ControlPortTest, FramesDoNotBreakIntoTheSupervisorsLines) {
    const unsigned vm = terminal("vm");
    send(frame::type::open, 1, "console vm");
    (void)frames();
    std::mt19937 random{9};
    std::string lines, put_lines, put_output, got;
    for (int n = 0; n < 300; ++n) {
        std::string line(random() % 3000, 'j');
        line += '\n';
        for (const char c : line)
            if (at(control_).output.put(c)) put_lines += c;
        const std::string piece(random() % 300, 'o');
        put(vm, piece);
        put_output += piece;
        got += output(1);
    }
    got += output(1);
    EXPECT_EQ(text_, put_lines);
    EXPECT_EQ(got, put_output);
}

// Frames that are for the supervisor, and those that are from it.
TEST_F(ControlPortTest, ChunksOfTransfersPassAsTheyAre) {
    std::string chunk;
    frame::write([&](char c) { chunk += c; }, frame::type::chunk, 7,
                 std::string(frame::max_payload, '\x01'));
    receive("{}\n" + chunk + "{}\n");
    EXPECT_EQ(typed(control_), ("{}\n" + chunk).substr(0, 1024)) << "as far as the ring has room";
    EXPECT_EQ(at(control_).wants_room, 1u);
    std::string piece;
    frame::write([&](char c) { piece += c; }, frame::type::piece, 7, "\n\x01\n");
    put(control_, "[]\n" + piece + "[]\n");
    const auto all = frames();
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].payload, "\n\x01\n");
    EXPECT_EQ(text_, "[]\n[]\n");
}

TEST_F(ControlPortTest, AHostThatFallsSilentIsGone) {
    terminal("vm");
    send(frame::type::open, 1, "console vm");
    ms_ += ControlPort::silence_ms - 1;
    send(frame::type::alive, 0);
    ms_ += ControlPort::silence_ms - 1;
    (void)shown();
    EXPECT_EQ(port_->streams(), 1u);
    ms_ += 2;
    (void)shown();
    EXPECT_EQ(port_->streams(), 0u);
}

TEST_F(ControlPortTest, AVmThatGoesClosesItsStreams) {
    const unsigned vm = terminal("vm");
    send(frame::type::open, 1, "console vm");
    (void)frames();
    port_->forget(vm);
    channels_->remove(vm);
    const auto all = frames();
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].type, frame::type::closed);
}

// The line takes nothing: what streams miss is counted, the supervisor's lines stay whole.
TEST_F(ControlPortTest, AStuckLineLosesOutputOfStreamsOnly) {
    const unsigned vm = terminal("vm", channel_flag::detached);
    send(frame::type::open, 1, "console vm");
    (void)frames();
    takes_second_ = false;
    put(control_, std::string(9000, 'j') + "\n");
    std::size_t put_bytes = 0;
    for (unsigned n = 0; n < 2000; ++n, ++ms_) {
        while (put_bytes < 50'000 && at(vm).output.put('o')) ++put_bytes;
        port_out_.look(ms_, false);
        (void)turn();
    }
    EXPECT_EQ(put_bytes, 50'000u);
    EXPECT_TRUE(at(vm).output.is_empty());
    takes_second_ = true;
    port_out_.look(ms_, true);
    std::uint64_t lost = 0, got = 0;
    for (const Frame& f : frames()) {
        if (f.type == frame::type::lost) lost += f.number();
        if (f.type == frame::type::output) got += f.payload.size();
    }
    EXPECT_EQ(text_, std::string(9000, 'j') + "\n");
    EXPECT_GT(lost, 0u);
    EXPECT_EQ(lost + got, 50'000u);
}

TEST_F(ControlPortTest, AnyBytesAreSurvived) {
    terminal("vm");
    std::mt19937 random{10};
    for (unsigned n = 0; n < 50'000; ++n) {
        if (port_->has_room()) take(static_cast<char>(random() % 8 == 0 ? 1 : random()), ms_);
        if (n % 50 == 0) {
            (void)shown();
            (void)typed(control_);
        }
    }
    receive(std::string(frame::max_frame, '\n'));
    (void)typed(control_);
    (void)frames();
    send(frame::type::open, 1, "console vm");
    bool opened = false;
    for (const Frame& f : frames()) opened |= f.type == frame::type::opened && f.stream == 1;
    EXPECT_TRUE(opened);
}

}  // namespace
}  // namespace margay::console
