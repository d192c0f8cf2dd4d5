// The channels of all clients: what they put is moved into histories, from which the serial lines show it.
// Pure logic over shared memory, so that host tests run it.
//
// A cycle begins with what lies in all rings then. Terminals come first, then the lines of servers by their
// time stamps: so what init says of a guest's end comes behind the guest's last words, and nobody who prints
// without end keeps the others waiting for longer than one ring takes.
//
// It lies in memory that outlives the console. What has been taken from a ring counts as taken when it is stored here;
// the ring's own index follows.
#pragma once
#include <cstdint>
#include <string_view>

#include "proto/console.hpp"
#include "servers/console/log_book.hpp"
#include "servers/console/queue.hpp"
#include "servers/console/undo.hpp"

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
    Channels(Clients& clients, Undo& undo) : clients_{&clients}, undo_{&undo} {}

    // False if there is no room for one of this kind, or the place is taken. since: any number but 0, by which a
    // successor knows it again.
    bool add(unsigned index, ChannelKind kind, std::string_view name, std::uint32_t flags,
             ConsoleChannel& memory, std::uint32_t since = 1);
    void remove(unsigned index);

    // For the successor of a console that died: first these, then keep() or remove() for all places, then resume().
    void begin_resume(Clients& clients, Undo& undo);
    std::uint32_t since(unsigned index) const { return entries_[index].since; }
    // The channel goes on, in this memory.
    void keep(unsigned index, ChannelKind kind, std::string_view name, std::uint32_t flags,
              ConsoleChannel& memory);
    // A step that was under way is taken back. state: what steps change. False: it is damaged.
    bool resume(void* state, std::uint64_t size);

    bool has(unsigned index) const { return index < max_channels && entries_[index].memory; }
    bool is(unsigned index, ChannelKind kind) const {
        return has(index) && entries_[index].kind == kind;
    }
    bool is_terminal(unsigned index) const { return is(index, ChannelKind::terminal); }
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

    // Hands the first byte of a queue to a client. False: no room; its client will signal. What is for nobody is
    // dropped. count: counted up with it, if given.
    template <unsigned bytes>
    bool hand(unsigned index, Queue<bytes>& from, std::uint32_t* count = nullptr) {
        if (!has_input_room(index)) return false;
        undo_->save(from.ends());
        if (count != nullptr) undo_->save(*count);
        const char c = from.front();
        begin_hand(index);
        from.pop();
        if (count != nullptr) ++*count;
        end_hand(index, c);
        return true;
    }
    // The second serial line's; null: there is none.
    ConsoleChannel* control() {
        return control_ == no_channel ? nullptr : entries_[control_].memory;
    }
    unsigned control_index() const { return control_; }
    // Up to where that one's output has been taken.
    std::uint32_t& control_taken() { return entries_[control_].taken; }
    // Whether clients are to signal when they have put something.
    void doorbells(bool wanted);

  private:
    static constexpr unsigned no_history = max_terminals;

    // How far a line has been read.
    struct Reading {
        std::uint64_t next_stamp = 0, last_stamp = 0;
        unsigned stamp_bytes = 0;  // of a time stamp: still to be read
        bool is_whole = false;     // it waits for its turn
        bool is_cut = false;       // its beginning went before it, because it was too long
        bool has_c2 = false;       // the byte before was the first of a control character in UTF-8
    };
    struct Entry {
        ConsoleChannel* memory = nullptr;
        std::uint32_t since = 0;  // 0: there is none. Set last, cleared first
        ChannelKind kind = ChannelKind::log;
        std::uint32_t flags = 0;
        char name[32];
        unsigned history = no_history;
        std::uint32_t quota = 0;  // of this cycle: bytes still to be taken
        bool had_output = false;
        // Position in the ring up to which output has been taken; of a terminal, less its history's end.
        std::uint32_t taken = 0;
        // log: the line so far
        LogLine line;
        Reading reading;
    };

    // What a client has been handed, if a console died meanwhile.
    struct Handing {
        unsigned index = no_channel;  // no_channel: nobody is
        std::uint32_t head = 0;       // of the ring, before
    };

    void set(Entry& e, ChannelKind kind, std::string_view name, std::uint32_t flags,
             ConsoleChannel& memory);
    bool has_input_room(unsigned index);
    void begin_hand(unsigned index);
    void end_hand(unsigned index, char c);
    std::uint32_t taken(const Entry& e) const;
    void skip(Entry& e) const;
    std::uint32_t waiting(Entry& e) const;
    bool begin_cycle();
    bool move_terminals();
    bool move_lines(std::uint64_t now, bool& more);
    void gather(Entry& e, std::uint64_t now);
    void read_line(Entry& e, std::uint64_t now);
    static void begin_line(Entry& e, std::uint64_t now);
    static void put_text(Entry& e, char c);

    Clients* clients_;
    Undo* undo_;
    Entry entries_[max_channels];
    TerminalHistory histories_[max_terminals];
    bool history_used_[max_terminals] = {};
    LogBook log_;
    unsigned limit_ = 0;  // places below may be taken
    unsigned control_ = no_channel, ordered_with_ = no_channel;
    bool in_cycle_ = false;
    Handing handing_;
};

}  // namespace margay::console
