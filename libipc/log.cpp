#include "libipc/log.hpp"

#include "libipc/channel.hpp"
#include "libipc/startup.hpp"

namespace margay {

namespace {

ChannelClient client;
bool at_line_start = true;
std::uint64_t lost = 0;

void put_byte(char c) { lost += client.put(c) ? 0 : 1; }

void begin_line() {
    constexpr unsigned stamp_bytes = 8;
    put_byte(log_stamp);
    for (std::uint64_t i = 0, now = rdtsc(); i < stamp_bytes; ++i, now >>= 8)
        put_byte(static_cast<char>(now));
}

}  // namespace

void open_log(ConsoleChannel* channel, Slot console_event, std::uint64_t bit) {
    client = ChannelClient{channel, console_event, bit};
    at_line_start = true;
}

void open_startup_log() {
    if (const StartupItem* i = find_startup_item("log"))
        open_log(mapped<ConsoleChannel>(*i), i->slot, i->value);
}

// A line begins with its time. A line that finds too little room for that and some text is left out, and
// the next one that has room is preceded by how much that was.
void put_log(char c) {
    constexpr unsigned least_room = 256;
    if (at_line_start) {
        if (client.room() < least_room) {
            ++lost;
            return;
        }
        begin_line();
        if (const std::uint64_t count = lost; count != 0) {
            lost = 0;
            print([](char d) { put_byte(d); }, "[{} bytes lost]\n", count);
            begin_line();
        }
    }
    at_line_start = c == '\n';
    // What looks like a time would end the line.
    put_byte(c == log_stamp ? '?' : c);
}

// Who has printed nearly a ring's worth gives way, so that the console gets to it if it has the same
// priority and core. That is one turn; nobody waits for the console.
void flush_log() {
    constexpr unsigned little_room = 4096;
    client.flush();
    if (client.room() < little_room) yield();
}

void fail(const char* why, Status status) {
    log("{}: {}\n", why, to_text(status));
    __builtin_trap();
}

}  // namespace margay
