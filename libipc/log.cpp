#include "libipc/log.hpp"

#include "libipc/channel.hpp"
#include "libipc/startup.hpp"

namespace margay {

namespace {
ChannelClient client;
}

void open_log(ConsoleChannel* channel, Slot console_event, std::uint64_t bit) {
    client = ChannelClient{channel, console_event, bit};
}

void open_startup_log() {
    if (const StartupItem* i = find_startup_item("log"))
        open_log(mapped<ConsoleChannel>(*i), i->slot, i->value);
}

void put_log(char c) { client.put(c); }
void flush_log() { client.flush(); }

void fail(const char* why, Status status) {
    log("{}: {}\n", why, to_text(status));
    __builtin_trap();
}

}  // namespace margay
