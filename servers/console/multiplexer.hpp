// Which channel is shown and typed into, and how lines of several come together. Pure logic over a
// sink for bytes, so that host tests run it.
#pragma once
#include <cstdint>
#include <string_view>

#include "proto/console.hpp"

namespace margay::console {

class SerialSink {
  public:
    virtual void put(char c) = 0;

  protected:
    ~SerialSink() = default;
};

struct ChannelInfo {
    ConsoleChannel* channel = nullptr;
    char name[24] = {};
    ChannelKind kind = ChannelKind::log;
};

class Multiplexer {
  public:
    // Ctrl-] and any other key: to the next terminal. Ctrl-] twice: sends one to the guest.
    static constexpr char escape = 0x1d;
    static constexpr unsigned line_bytes = 160;
    static constexpr unsigned history_bytes = 4096;

    // logs: where lines of servers go instead of among the terminal's output.
    explicit Multiplexer(SerialSink& sink, SerialSink* logs = nullptr) : sink_{sink}, logs_{logs} {}

    // False if there are max_channels already. The first terminal that wants to be is attached.
    bool add(const ChannelInfo& info, bool may_attach = true);
    // Ignored unless the channel is a terminal.
    void attach(unsigned index);
    unsigned attached() const { return attached_; }

    // Moves everything that clients have put; true if there was something.
    bool drain();
    // A byte was typed. The channel that got it, or -1.
    int type(char c);
    void doorbells(bool wanted);
    bool all_empty() const;

  private:
    struct Entry {
        ChannelInfo info;
        char line[line_bytes];  // log: the line so far
        unsigned line_length = 0;
        bool is_cut = false;          // the line was too long: its beginning has been shown
        char history[history_bytes];  // terminal: what was put while it was not shown
        unsigned history_length = 0;
        unsigned history_next = 0;
    };

    bool drain(ChannelKind kind);
    void put_log_byte(Entry& e, char c);
    void put_line(std::string_view line);
    void keep(Entry& e, char c);
    void put(char c);
    void say(std::string_view text);

    SerialSink& sink_;
    SerialSink* logs_;
    Entry entries_[max_channels];
    unsigned count_ = 0;
    unsigned attached_ = max_channels;  // none
    bool at_line_start_ = true;
    bool escape_pending_ = false;
};

}  // namespace margay::console
