// All that a console works on. It lies in memory that its supervisor owns, and the next one goes on with it.
#pragma once
#include "servers/console/control_port.hpp"
#include "servers/console/received.hpp"
#include "servers/console/screen.hpp"

namespace margay::console {

struct State {
    State(Clients& clients, bool with_log, std::uint64_t tsc_khz)
        : channels{clients, undo},
          screen{channels, out[0], undo, with_log},
          port{channels, out[1], clients, undo, tsc_khz} {}

    // For the successor of a console that died, between channels.begin_resume() with keep() and the first turn. now:
    // milliseconds. False: what is here cannot have been left by a console.
    bool resume(Clients& clients, bool with_log, std::uint64_t tsc_khz, std::uint64_t now) {
        if (!channels.resume(this, sizeof(*this))) return false;
        for (Outgoing& o : out) o.resume(now);
        for (Received& r : received) r.make_sound();
        screen.resume(channels, out[0], undo, with_log);
        port.resume(channels, out[1], clients, undo, tsc_khz);
        return true;
    }

    Undo undo;
    Outgoing out[2];  // of the two lines
    Received received[2];
    Channels channels;
    Screen screen;
    ControlPort port;
    LogBook::Position logged = 0;  // lines that went to a line of their own
};

// The memory as it is shared: all zero when there was no console yet.
struct KeptState {
    static constexpr std::uint64_t complete = 0x436f'6e73'6f6c'6500 + sizeof(State);

    State& state() { return *reinterpret_cast<State*>(memory); }
    bool is_complete() const { return mark == complete; }

    std::uint64_t mark;
    alignas(64) std::byte memory[sizeof(State)];
};
static_assert(sizeof(KeptState) <= console_state_bytes);

}  // namespace margay::console
