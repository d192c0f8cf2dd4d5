// A server's lines on the node's console.
#pragma once
#include "proto/console.hpp"
#include "proto/kernel.hpp"
#include "support/format.hpp"

namespace margay {

// Where put_log() writes: the channel of item "log" of the start-up block, or one given explicitly.
void open_log(ConsoleChannel* channel, Slot console_event, std::uint64_t bit);
void open_startup_log();
void put_log(char c);
// Rings the console's doorbell if it asked for that.
void flush_log();

// Text is dropped, never waited for, when the ring is full.
template <typename... Arguments>
void log(std::string_view format, const Arguments&... arguments) {
    print([](char c) { put_log(c); }, format, arguments...);
    flush_log();
}

// Prints the reason and faults, so that the supervisor sees it.
[[noreturn]] void fail(const char* why, Status status = Status::ok);

}  // namespace margay
