// The console server's interface: one channel of shared memory for each server's lines, each VM's terminal,
// and the node's control line.
//
// A client puts bytes into `output` and, if `wants_doorbell` is set, signals the console's Event with its
// channel's bit. The console puts what is typed into `input` and signals the client's Event; if that ring is
// full it sets `wants_room`, and the client signals when it has taken half of it.
//
// Channels come and go while the console runs. The supervisor maps a channel's memory into the console's
// Domain at console_channel_address(i), puts the client's Event into a slot of its table, fills in entry i of
// ConsoleControl, makes `wanted` odd and signals console_bit::control. For the end it makes `wanted` even and
// signals; memory and slot are its own again when `seen` is equal to `wanted`, which the console tells by
// signalling the Event of its start-up item "control". A console that starts anew finds all channels in the
// table, and what its predecessors worked on in the memory of item "state".
#pragma once
#include <atomic>
#include <cstdint>

#include "proto/kernel.hpp"
#include "proto/ring.hpp"

namespace margay {

enum class ChannelKind : std::uint32_t {
    log = 0,  // lines of a server: always shown, whole lines, in the order of their time stamps
    terminal = 1,  // a VM's serial line, or the node console
    control = 2,  // the second serial line outside frames, both ways: see proto/frame.hpp. Only one
};

namespace channel_flag {
constexpr std::uint32_t detached = 1;  // terminal: not shown before somebody asks for it
constexpr std::uint32_t tells_room =
    2;  // the client is signalled as well when its output has been taken
constexpr std::uint32_t trusted = 4;  // log: its lines carry no name in front
}  // namespace channel_flag

constexpr std::uint64_t channel_bytes = 5 * 4096;
constexpr unsigned max_channels = 512;
constexpr unsigned max_terminals = 256;  // among them

struct ConsoleChannel {
    ByteRing<16384> output;
    ByteRing<1024> input;
    std::atomic<std::uint32_t> wants_doorbell{1};
    std::atomic<std::uint32_t> wants_room{0};
};
static_assert(sizeof(ConsoleChannel) <= channel_bytes);

// In a log channel a line may begin with this byte and its time, a TSC of 8 bytes, the lowest first.
constexpr char log_stamp = 0x1e;

// Where channel i lies in the console's Domain.
constexpr std::uint64_t channel_stride = 0x8000;
constexpr std::uint64_t console_channel_address(unsigned i) {
    return 0x3000'0000 + i * channel_stride;
}

struct ChannelEntry {
    std::atomic<std::uint32_t> wanted{
        0};                              // the supervisor's, counted up: odd: the channel is there
    std::atomic<std::uint32_t> seen{0};  // the console's: up to where it has done that
    ChannelKind kind = ChannelKind::log;
    std::uint32_t flags = 0;
    Slot event = no_slot;  // the client's, in the console's table; no_slot: it is not signalled
    std::uint32_t reserved = 0;
    std::uint64_t bits = 0;  // of that Event
    char name[32] = {};      // zero-terminated
};
static_assert(sizeof(ChannelEntry) == 64);

// What the console shares with its supervisor.
struct ConsoleControl {
    // Which terminal to show on the first serial line: attach_request of a channel; 0: nothing. The console
    // takes it by writing 0.
    std::atomic<std::uint32_t> attach{0};
    // 0: all that was put before is on the serial lines, or nobody takes it there. The console's; the supervisor sets it before
    // a console starts. Whoever is busy makes a turn when console_bit::control is signalled, or hangs.
    std::atomic<std::uint32_t> busy{0};
    std::atomic<std::uint32_t> turns{0};  // counted up at each turn. The console's
    std::uint32_t reserved[13] = {};
    ChannelEntry channel[max_channels];
};
constexpr std::uint64_t console_control_bytes = (sizeof(ConsoleControl) + 4095) & ~4095ull;

// What a console keeps for its successors: all zero at first. Its contents are the console's own.
constexpr std::uint64_t console_state_bytes = 1408 << 10;

constexpr std::uint32_t attach_request(unsigned channel) { return channel + 1; }

// Bits of the console's Event.
namespace console_bit {
constexpr std::uint64_t serial = 1;   // the serial line's interrupt
constexpr std::uint64_t serial2 = 2;  // the second serial line's interrupt
constexpr std::uint64_t control = 4;  // ConsoleControl has changed
constexpr std::uint64_t channels = ~0ull << 8;
// Channels share bits: 56 of them.
constexpr unsigned channel_groups = 56;
constexpr std::uint64_t channel(unsigned index) { return 1ull << (8 + index % channel_groups); }
}  // namespace console_bit

}  // namespace margay
