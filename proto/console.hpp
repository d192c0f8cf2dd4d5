// The console server's interface: one channel of shared memory per server and per VM.
//
// A client puts bytes into `output` and, if `wants_doorbell` is set, signals the console's Event with
// its bit. The console puts what is typed into `input` of the channel it is attached to and signals
// the client's Event.
//
// The supervisor can have the console attach a channel: it writes into ConsoleControl and signals
// console_bit::control.
#pragma once
#include <atomic>
#include <cstdint>

#include "proto/ring.hpp"

namespace margay {

enum class ChannelKind : std::uint32_t {
    log = 0,       // lines of a server: always shown, whole lines
    terminal = 1,  // a VM's serial line, or the node console: shown while attached
    raw = 2,       // the bytes of a serial line of its own, both ways
};

constexpr std::uint64_t channel_bytes = 5 * 4096;
constexpr unsigned max_channels = 32;

struct ConsoleChannel {
    ByteRing<16384> output;
    ByteRing<1024> input;
    std::atomic<std::uint32_t> wants_doorbell{1};
};
static_assert(sizeof(ConsoleChannel) <= channel_bytes);

// A page that the console shares with its supervisor.
struct ConsoleControl {
    // What to attach: attach_request of a channel; 0: nothing. The console takes it by writing 0.
    std::atomic<std::uint32_t> attach{0};
};
static_assert(sizeof(ConsoleControl) == 4);

// Channels count from 0, in the order of their items in the console's start-up block.
constexpr std::uint32_t attach_request(unsigned channel) { return channel + 1; }

// Bits of the console's Event.
namespace console_bit {
constexpr std::uint64_t serial = 1;  // the serial line's interrupt
constexpr std::uint64_t channel(unsigned index) { return 2ull << index; }
constexpr std::uint64_t serial2 = 1ull << 40;  // the second serial line's interrupt
constexpr std::uint64_t control = 1ull << 41;  // ConsoleControl has a request
}  // namespace console_bit

}  // namespace margay
