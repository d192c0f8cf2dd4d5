// The console server's interface: one channel of shared memory per server and per VM.
//
// A client puts bytes into `output` and, if `wants_doorbell` is set, signals the console's Event with
// its bit. The console puts what is typed into `input` of the channel it is attached to and signals
// the client's Event.
#pragma once
#include <atomic>
#include <cstdint>

#include "proto/ring.hpp"

namespace margay {

enum class ChannelKind : std::uint32_t {
    log = 0,       // lines of a server: always shown, whole lines
    terminal = 1,  // a VM's serial line: shown while attached
};

constexpr std::uint64_t channel_bytes = 5 * 4096;
constexpr unsigned max_channels = 32;

struct ConsoleChannel {
    ByteRing<16384> output;
    ByteRing<1024> input;
    std::atomic<std::uint32_t> wants_doorbell{1};
};
static_assert(sizeof(ConsoleChannel) <= channel_bytes);

// Bits of the console's Event.
namespace console_bit {
constexpr std::uint64_t serial = 1;  // the serial line's interrupt
constexpr std::uint64_t channel(unsigned index) { return 2ull << index; }
}  // namespace console_bit

}  // namespace margay
