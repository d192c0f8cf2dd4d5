// Channels with clients, and the lines that show them, without hardware.
#pragma once
#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "servers/console/control_port.hpp"
#include "servers/console/screen.hpp"

namespace margay::console {

struct Told : Clients {
    std::vector<unsigned> channels;
    void notify(unsigned channel) override { channels.push_back(channel); }
    bool has(unsigned channel) const {
        return std::find(channels.begin(), channels.end(), channel) != channels.end();
    }
};

class ConsoleTest : public testing::Test {
  protected:
    static constexpr std::uint64_t tsc_khz = 1'000'000;

    unsigned add(ChannelKind kind, const std::string& name, std::uint32_t flags = 0) {
        const auto index = static_cast<unsigned>(memory_.size());
        memory_.push_back(std::make_unique<ConsoleChannel>());
        EXPECT_TRUE(channels_->add(index, kind, name, flags, *memory_.back()));
        return index;
    }
    unsigned log(const std::string& name, std::uint32_t flags = 0) {
        return add(ChannelKind::log, name, flags);
    }
    unsigned terminal(const std::string& name, std::uint32_t flags = 0) {
        const unsigned index = add(ChannelKind::terminal, name, flags);
        screen_->look_for_terminal();
        return index;
    }
    ConsoleChannel& at(unsigned index) { return *memory_[index]; }
    void put(unsigned index, const std::string& text) {
        for (const char c : text) ASSERT_TRUE(at(index).output.put(c));
    }
    // A line with its time.
    void put_at(unsigned index, std::uint64_t stamp, const std::string& text) {
        std::string s{log_stamp};
        for (unsigned i = 0; i < 8; ++i) s += static_cast<char>(stamp >> 8 * i);
        put(index, s + text);
    }
    std::string typed(unsigned index) {
        std::string s;
        char c;
        while (at(index).input.get(c)) s += c;
        return s;
    }
    bool turn() {
        (void)screen_->pass_on(ms_);
        (void)port_->pass_on(ms_);
        channels_->begin_turn();
        screen_->keep();
        port_->keep();
        bool any = channels_->move(tsc_);
        any |= screen_->show();
        any |= port_->show();
        return any;
    }
    // A byte from one of the lines.
    void press(char c) {
        screen_->type(c);
        undo_.commit();
    }
    void take(char c, std::uint64_t now) {
        port_->receive(c, now);
        undo_.commit();
    }
    static std::string take(Outgoing& out) {
        std::string s;
        for (; !out.is_empty(); out.pop()) s += out.front();
        return s;
    }
    // Everything that comes out on the first line, until nothing more does.
    std::string shown() {
        std::string all;
        for (bool any = true; any;) {
            any = turn();
            const std::size_t before = all.size() + second_.size();
            all += take(screen_out_);
            if (takes_second_) second_ += take(port_out_);
            any |= all.size() + second_.size() != before;
            screen_out_.look(ms_, true);
        }
        return all;
    }
    std::string second() {
        (void)shown();
        return std::exchange(second_, {});
    }

    Told told_;
    Undo undo_;
    std::unique_ptr<Channels> channels_ = std::make_unique<Channels>(told_, undo_);
    Outgoing screen_out_, port_out_;
    std::unique_ptr<Screen> screen_ =
        std::make_unique<Screen>(*channels_, screen_out_, undo_, true);
    std::unique_ptr<ControlPort> port_ =
        std::make_unique<ControlPort>(*channels_, port_out_, told_, undo_, tsc_khz);
    std::vector<std::unique_ptr<ConsoleChannel>> memory_;
    std::uint64_t ms_ = 1, tsc_ = 1'000'000'000;
    std::string second_;
    bool takes_second_ = true;
};

}  // namespace margay::console
