// The second serial line: the supervisor's lines and frames as they are, and between them the streams of
// hosts that look at terminals and logs (proto/frame.hpp). Pure logic, so that host tests run it.
//
// Nothing of the supervisor's is lost: what the line does not take stays in its ring, what its ring has no
// room for stays in the UART. Output of streams is dropped with a count when the line is stuck.
//
// It lies in memory that outlives the console: a frame or line goes out once and whole, whichever of them sends it.
#pragma once
#include <cstdint>
#include <string_view>

#include "proto/frame.hpp"
#include "servers/console/channels.hpp"
#include "servers/console/queue.hpp"

namespace margay::console {

class ControlPort {
  public:
    static constexpr unsigned max_streams = 32;
    static constexpr unsigned window = 1024;
    // A host that says nothing for so long is gone.
    static constexpr std::uint64_t silence_ms = 60'000;

    ControlPort(Channels& channels, Outgoing& out, Clients& clients, Undo& undo,
                std::uint64_t tsc_khz)
        : channels_{&channels}, out_{&out}, clients_{&clients}, undo_{&undo}, tsc_khz_{tsc_khz} {}
    // For the successor of a console that died, after its channels.
    void resume(Channels& channels, Outgoing& out, Clients& clients, Undo& undo,
                std::uint64_t tsc_khz);

    // Before channels are moved.
    void keep();
    // Moves output as far as there is room. True if any was moved.
    bool show();
    // Whether a byte can be received now. Otherwise the supervisor signals when there is room again.
    bool has_room();
    // Undo::commit() is due after it.
    void receive(char c, std::uint64_t now);
    // Passes on what was typed. True if anything was moved. now: milliseconds.
    bool pass_on(std::uint64_t now);
    // The channel is gone.
    void forget(unsigned index);
    unsigned streams() const;

  private:
    enum class Kind : std::uint8_t { none, terminal, log, ending };
    enum class Why : std::uint8_t { nothing, too_many, no_vm, unknown, vm_gone };
    struct Course {
        Kind kind = Kind::none;
        Why why = Why::nothing;
        char last_type = 0;  // ending: the frame that is still to be sent
        bool follows = false, says_opened = false;
        std::uint16_t id = 0;
        unsigned channel = no_channel;  // log: the VM's, or all
        std::uint64_t position = 0;
        std::uint64_t end = 0;  // log: where it ends unless it follows
        std::uint64_t lost = 0;
        std::uint32_t granted = 0;  // that may be typed again, not told yet
    };
    struct Stream : Course {
        Queue<window> typed;
        Course& course() { return *this; }
    };
    // What of the supervisor's output is under way: bytes left of a frame, or within a line.
    struct Underway {
        bool in_line = false;
        unsigned frame_left = 0, header_left = 0;
        char header[frame::header_bytes] = {};
        bool is_any() const { return in_line || frame_left != 0 || header_left != 0; }
    };

    void take_frame(std::uint64_t now);
    void open(std::uint16_t id, std::string_view what);
    static void end(Stream& s, char last_type, Why why);
    Stream* find(std::uint16_t id);
    void send(char type, std::uint16_t stream, std::string_view payload);
    void send_number(char type, std::uint16_t stream, std::uint64_t number);
    bool show_stream(Stream& s);
    bool show_terminal(Stream& s);
    bool show_log(Stream& s);
    bool show_supervisor();
    bool move_supervisors(ConsoleChannel& control, bool& took);
    bool is_about(const Stream& s, const LogLine& line) const;
    void put_control(char c);

    Channels* channels_;
    Outgoing* out_;
    Clients* clients_;
    Undo* undo_;
    std::uint64_t tsc_khz_;
    Stream streams_[max_streams + 1];  // the last one only refuses
    unsigned next_ = 0;                // whose turn it is
    frame::Reader reader_;
    std::uint64_t heard_ = 0;
    // The supervisor's frame that has no room in its ring yet.
    Queue<8192> control_in_;
    Underway under_;
};

}  // namespace margay::console
