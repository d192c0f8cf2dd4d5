// The supervisor's side of the console's channels: they come and go while both run.
#pragma once
#include "proto/console.hpp"
#include "servers/init/node.hpp"
#include "servers/init/program.hpp"

namespace margay::init {

// A console channel: memory, and the bit that rings for it.
struct Channel {
    Extent memory;
    ConsoleChannel* here = nullptr;
    std::uint64_t bit = 0;
    unsigned index = max_channels;  // its place; max_channels: there is none
};

struct ChannelOptions {
    ChannelKind kind = ChannelKind::log;
    std::string_view name;  // cut to 31 bytes
    std::uint32_t flags = 0;
    Slot event = no_slot;  // signalled with `bits` when there is input
    std::uint64_t bits = 1;
};

class ConsoleChannels {
  public:
    // The console's Program has been loaded with `table_slots` and `mappings`, at least.
    static constexpr std::uint64_t first_slot = 64, table_slots = first_slot + max_channels;
    static constexpr std::uint64_t mappings = 128 + max_channels;
    // console_event rings the console. settled: bits of `event` that say that the console has followed.
    Status open(Node& node, Slot console_event, Slot event, std::uint64_t settled);

    // A console that is being made gets the table, then all channels, some at a time. There is one at a time.
    // anew: what consoles before it kept is forgotten.
    Status begin_console(Program& console, bool anew);
    Status give_some(bool& all);
    // It is gone. Channels come and go as before; the next one gets them all.
    void end_console() { domain_ = no_slot; }
    // Turns that consoles have made so far.
    std::uint32_t turns() const { return control_->turns.load(); }
    // The console says that it has something to do.
    bool is_busy() const { return control_->busy.load() != 0; }
    // Has it make a turn.
    void ask_for_turn();

    // The console shows it from now on; nothing waits for that. no_memory, also if all places are taken.
    Result<Channel> add(const ChannelOptions& options);
    // The console lets go of it; then collect() gives its memory back. Nobody may use it any more.
    void remove(Channel& channel);
    // Gives back what the console has let go. When `settled` was signalled.
    void collect();
    // Places that are in use, those that wait for collect() among them.
    unsigned count() const { return count_; }

    // Shows the terminal on the first serial line and lets it have what is typed.
    void attach(const Channel& terminal);
    // Everything that was said is on the serial lines.
    bool is_drained() const;

  private:
    enum class State : std::uint8_t { free, used, leaving };
    struct Place {
        State state = State::free;
        Extent memory;
        ConsoleChannel* here = nullptr;
        Slot event = no_slot;  // init's copy, from which the console's is derived
    };

    Status clear_state();
    Status make(unsigned index, const ChannelOptions& options);
    Status give(unsigned index);
    void take_back(unsigned index);

    Node* node_ = nullptr;
    Slot domain_ = no_slot;  // the console's; no_slot: there is none
    Slot console_event_ = no_slot, event_ = no_slot;
    std::uint64_t settled_ = 0;
    unsigned given_ = 0;      // the console has the channels below
    std::uint64_t area_ = 0;  // where all of them are mapped in init
    Extent control_memory_, state_memory_;
    ConsoleControl* control_ = nullptr;
    Place places_[max_channels];
    unsigned count_ = 0;
};

}  // namespace margay::init
