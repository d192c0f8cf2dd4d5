// Console channels that come and go while the node runs, in init's place: afterwards memory, slots and places
// are what they were.
#include "libipc/log.hpp"
#include "libipc/start.hpp"
#include "servers/init/pmem_watch.hpp"
#include "servers/init/services.hpp"
#include "tests/system/programs/check.hpp"

using namespace margay;
using namespace margay::init;

namespace {

constexpr std::uint64_t service_died = node_bit::console_died | node_bit::pmem_died;
constexpr unsigned pairs = 100;

Services services;
Channel terminals[pairs], logs[pairs];

std::uint64_t free_memory() { return services.memory().use().free; }

// Until the console has followed.
void settle(Node& node, unsigned wanted) {
    const std::uint64_t limit = rdtsc() + node.ticks(60'000'000);
    while (services.channels().count() != wanted && rdtsc() < limit) {
        const auto bits = wait(services.node_event(), rdtsc() + node.ticks(100'000));
        if (bits && (*bits & service_died) != 0) {
            EXPECT(!"the console died");
            return;
        }
        services.channels().collect();
    }
    EXPECT(services.channels().count() == wanted);
}

void come_and_go(Node& node, Slot event, bool with_output) {
    const unsigned before = services.channels().count();
    for (unsigned i = 0; i < pairs; ++i) {
        char name[] = "vm00";
        name[2] = static_cast<char>('0' + i / 10), name[3] = static_cast<char>('0' + i % 10);
        const auto terminal =
            services.channels().add({ChannelKind::terminal, name, channel_flag::detached, event});
        const auto log = services.channels().add({ChannelKind::log, name});
        EXPECT(terminal && log);
        if (!terminal || !log) return;
        terminals[i] = *terminal, logs[i] = *log;
        if (!with_output) continue;
        for (const char c : {'o', 'k', '\n'}) {
            (void)logs[i].here->output.put(c);
            (void)terminals[i].here->output.put(c);
        }
        (void)signal(services.console_event(), logs[i].bit | terminals[i].bit);
    }
    if (with_output) services.drain();
    for (unsigned i = 0; i < pairs; ++i) {
        services.channels().remove(terminals[i]);
        services.channels().remove(logs[i]);
        EXPECT(terminals[i].here == nullptr);
    }
    settle(node, before);
}

}  // namespace

void program_main(std::uint64_t argument) {
    if (PmemWatch::is_thread(argument)) PmemWatch::run();
    static Node node{*reinterpret_cast<const BootInfo*>(
        argument)};  // too large for the stack of the other thread
    services.start_memory(node);
    services.start_console(node);
    services.open_node_terminal();
    const Result<Slot> event = node.create_event();
    EXPECT(static_cast<bool>(event));
    log("begin\n");
    services.drain();
    come_and_go(node, *event, false);
    const std::uint64_t free = free_memory();
    const Slot slot = node.new_slot();
    node.give_back_slot(slot);
    for (int round = 0; round < 3; ++round) come_and_go(node, *event, true);
    EXPECT(free_memory() == free);
    // As many as there are places for, and no more.
    unsigned count = 0;
    static Channel all[max_channels];
    while (const auto c = services.channels().add({ChannelKind::log, "many"})) all[count++] = *c;
    EXPECT(services.channels().count() == max_channels);
    for (unsigned i = 0; i < count; ++i) services.channels().remove(all[i]);
    settle(node, 3);  // init's log, the node console, the control line
    EXPECT(free_memory() == free);
    log("end\n");
    services.drain();
    test::finish();
}
