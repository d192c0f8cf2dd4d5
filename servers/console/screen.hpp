// The first serial line: shows one terminal at a time and the lines of all servers, and types into that
// terminal. Pure logic, so that host tests run it. It lies in memory that outlives the console.
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
    Screen(Channels& channels, Outgoing& out, Undo& undo, bool with_log)
        : channels_{&channels}, out_{&out}, undo_{&undo}, with_log_{with_log} {}
    // For the successor of a console that died, after its channels.
    void resume(Channels& channels, Outgoing& out, Undo& undo, bool with_log);

    // Ignored unless the channel is a terminal.
    void attach(unsigned index);
    // The first terminal that wants to be is attached; a removed one gives way to the next.
    void look_for_terminal();
    // The channel is gone.
    void forget(unsigned index);
    unsigned attached() const { return view_.attached; }

    // Before channels are moved: what is still needed. now: milliseconds.
    void keep();
    // Moves output as far as there is room. True if any was moved.
    bool show();

    // Whether a byte can be received now.
    bool has_room() const { return typed_.room() != 0 || view_.is_deaf; }
    // Undo::commit() is due after it.
    void type(char c);
    // Passes on what was typed, as far as the terminal takes it. True if anything was moved.
    bool pass_on(std::uint64_t now);
    // When input that nobody takes will be dropped, in milliseconds; 0: there is none.
    std::uint64_t deaf_at() const {
        return typed_.is_empty() || view_.is_deaf ? 0 : view_.typed_since + patience_ms;
    }

  private:
    struct View {
        unsigned attached = no_channel;
        std::uint64_t position = 0;  // of the attached terminal: what has been shown
        LogBook::Position log_position = 0;
        std::uint64_t lost = 0, lost_input = 0;
        std::uint64_t typed_since = 0;  // when the terminal has taken something
        bool at_line_start = true, escape_pending = false, is_deaf = false, was_attached = false;
    };

    void put(char c);
    void say(std::string_view text);
    void say_number(std::uint64_t n);
    void say_lost();
    void put_line(const LogLine& line);
    bool show_line(std::uint64_t& until);
    bool show_some();
    bool hand_over();
    void show_other(unsigned index);

    Channels* channels_;
    Outgoing* out_;
    Undo* undo_;
    bool with_log_;
    View view_;
    std::uint64_t shown_[max_channels] = {};  // positions of the other terminals
    Queue<4096> typed_;
};

}  // namespace margay::console
