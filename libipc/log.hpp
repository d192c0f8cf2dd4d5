// A server's lines on the node's console.
#pragma once
#include <atomic>

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

// One line at a time, whatever thread of the program it comes from.
class LogGuard {
  public:
    LogGuard() {
        while (busy_.test_and_set(std::memory_order_acquire)) __builtin_ia32_pause();
    }
    ~LogGuard() { busy_.clear(std::memory_order_release); }
    LogGuard(const LogGuard&) = delete;
    LogGuard& operator=(const LogGuard&) = delete;

  private:
    static inline constinit std::atomic_flag busy_{};
};

// Text is dropped, never waited for, when the ring is full.
template <typename... Arguments>
void log(std::string_view format, const Arguments&... arguments) {
    const LogGuard guard;
    print([](char c) { put_log(c); }, format, arguments...);
    flush_log();
}

// Prints the reason and faults, so that the supervisor sees it.
[[noreturn]] void fail(const char* why, Status status = Status::ok);

}  // namespace margay
