// The first serial line: shows one terminal at a time and the lines of all servers, and types into that
// terminal. Pure logic, so that host tests run it.
#pragma once
#include <cstdint>
#include <string_view>

#include "servers/console/channels.hpp"
#include "servers/console/queue.hpp"

namespace margay::console {

class Screen {
  public:
    // Ctrl-] and any other key: to the next terminal. Ctrl-] twice: sends one to the guest.
    static constexpr char escape = 0x1d;
    // Input that a terminal does not take is kept for so long, then dropped: Ctrl-] must get through.
    static constexpr std::uint64_t patience_ms = 10'000;

    // with_log: lines of servers are shown here, and not elsewhere.
    Screen(Channels& channels, Outgoing& out, bool with_log)
        : channels_{channels}, out_{out}, with_log_{with_log} {}

    // Ignored unless the channel is a terminal.
    void attach(unsigned index);
    // The first terminal that wants to be is attached; a removed one gives way to the next.
    void look_for_terminal();
    // The channel is gone.
    void forget(unsigned index);
    unsigned attached() const { return attached_; }

    // Before channels are moved: what is still needed. now: milliseconds.
    void keep();
    // Moves output as far as there is room. True if any was moved.
    bool show();

    // Whether a byte can be received now.
    bool has_room() const { return typed_.room() != 0 || is_deaf_; }
    void type(char c);
    // Passes on what was typed, as far as the terminal takes it. True if anything was moved.
    bool pass_on(std::uint64_t now);
    // When input that nobody takes will be dropped, in milliseconds; 0: there is none.
    std::uint64_t deaf_at() const {
        return typed_.is_empty() || is_deaf_ ? 0 : typed_since_ + patience_ms;
    }

  private:
    void put(char c);
    void say(std::string_view text);
    void say_number(std::uint64_t n);
    void say_lost();
    void put_line(const LogLine& line);
    bool show_line();
    bool hand_over();

    Channels& channels_;
    Outgoing& out_;
    bool with_log_;
    unsigned attached_ = no_channel;
    std::uint64_t position_ = 0;              // of the attached terminal: what has been shown
    std::uint64_t shown_[max_channels] = {};  // the same of the others
    LogBook::Position log_position_ = 0;
    std::uint64_t lost_ = 0, lost_input_ = 0;
    Queue<4096> typed_;
    std::uint64_t typed_since_ = 0;  // when the terminal has taken something
    bool at_line_start_ = true, escape_pending_ = false, is_deaf_ = false, was_attached_ = false;
};

}  // namespace margay::console
