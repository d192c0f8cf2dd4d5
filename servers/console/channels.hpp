// The channels of all clients: what they put is moved into histories, from which the serial lines show it.
// Pure logic over shared memory, so that host tests run it.
//
// A cycle begins with what lies in all rings then. Terminals come first, then the lines of servers by their
// time stamps: so what init says of a guest's end comes behind the guest's last words, and nobody who prints
// without end keeps the others waiting for longer than one ring takes.
#pragma once
#include <cstdint>
#include <string_view>

#include "proto/console.hpp"
#include "servers/console/log_book.hpp"

namespace margay::console {

constexpr unsigned no_channel = max_channels;

// Whom to tell that something was typed, or that output was taken.
class Clients {
  public:
    virtual void notify(unsigned channel) = 0;

  protected:
    ~Clients() = default;
};

using TerminalHistory = History<4096>;

class Channels {
  public:
    explicit Channels(Clients& clients) : clients_{clients} {}

    // False if there is no room for one of this kind, or the place is taken.
    bool add(unsigned index, ChannelKind kind, std::string_view name, std::uint32_t flags,
             ConsoleChannel& memory);
    void remove(unsigned index);

    bool has(unsigned index) const { return index < max_channels && entries_[index].memory; }
    bool is_terminal(unsigned index) const {
        return has(index) && entries_[index].kind == ChannelKind::terminal;
    }
    std::string_view name(unsigned index) const;
    std::uint32_t flags(unsigned index) const { return entries_[index].flags; }
    // By name; no_channel if there is none of that kind.
    unsigned find(ChannelKind kind, std::string_view name) const;
    // The terminal behind that one, in order of their places and around; no_channel if there is none.
    unsigned next_terminal(unsigned behind) const;
    // Of a terminal.
    TerminalHistory& history(unsigned index) { return histories_[entries_[index].history]; }
    LogBook& log() { return log_; }
    unsigned limit() const { return limit_; }
    // Which terminal's output lines of servers are ordered with.
    void order_with(unsigned terminal) { ordered_with_ = terminal; }

    // Readers say what they still need between begin_turn() and move(). now: TSC; no line is younger.
    void begin_turn();
    // Moves what there is room for; bounded. True if anything was moved.
    bool move(std::uint64_t now);
    // Nothing is left to be moved, as far as is known.
    bool is_idle() const { return !in_cycle_; }

    // A byte typed for a terminal. False: no room; its client will signal.
    bool type(unsigned index, char c);
    // The second serial line's; null: there is none.
    ConsoleChannel* control() {
        return control_ == no_channel ? nullptr : entries_[control_].memory;
    }
    unsigned control_index() const { return control_; }
    // Whether clients are to signal when they have put something.
    void doorbells(bool wanted);

  private:
    static constexpr unsigned no_history = max_terminals;

    struct Entry {
        ConsoleChannel* memory = nullptr;
        ChannelKind kind = ChannelKind::log;
        std::uint32_t flags = 0;
        char name[32];
        unsigned history = no_history;
        std::uint32_t quota = 0;  // of this cycle: bytes still to be taken
        bool had_output = false;
        // log: the line so far
        LogLine line;
        bool is_whole = false;     // it waits for its turn
        bool is_cut = false;       // its beginning went before it, because it was too long
        unsigned stamp_bytes = 0;  // of a time stamp: still to be read
        std::uint64_t next_stamp = 0, last_stamp = 0;
        bool has_c2 = false;  // the byte before was the first of a control character in UTF-8
    };

    bool begin_cycle();
    bool move_terminals();
    bool move_lines(std::uint64_t now, bool& more);
    static void gather(Entry& e, std::uint64_t now);
    static void begin_line(Entry& e, std::uint64_t now);
    static void put_text(Entry& e, char c);

    Clients& clients_;
    Entry entries_[max_channels];
    TerminalHistory histories_[max_terminals];
    bool history_used_[max_terminals] = {};
    LogBook log_;
    unsigned limit_ = 0;  // places below may be taken
    unsigned control_ = no_channel, ordered_with_ = no_channel;
    bool in_cycle_ = false;
};

}  // namespace margay::console
