#include "servers/init/services.hpp"

#include <algorithm>

#include "libipc/log.hpp"
#include "support/format.hpp"

namespace margay::init {

namespace {

constexpr std::uint16_t com1 = 0x3f8;
// Deaths of a service within ten seconds that are answered at once; then it pauses for as long.
constexpr std::uint64_t restart_limit = 16, restart_window_ms = 10'000;
// What the console has to do for a turn takes it less than a millisecond, and it has at least half of init's core.
constexpr std::uint64_t hang_ms = 2000;

// While there is no console: straight to the serial line, which init has by its authority over ports.
template <typename... Arguments>
void say_directly(std::string_view format, const Arguments&... arguments) {
    print(
        [](char c) {
            for (unsigned i = 0; i < 100000 && !(port_read(init_slot::ports, com1 + 5, 1) & 0x20);
                 ++i) {}
            (void)port_write(init_slot::ports, com1, 1, static_cast<unsigned char>(c));
        },
        format, arguments...);
}

[[noreturn]] void early_failure(const char* what, Status s) {
    say_directly("margay: {}: {}\r\n", what, to_text(s));
    __builtin_trap();
}

void must(Status s, const char* what) {
    if (s != Status::ok) early_failure(what, s);
}
template <typename T>
T must(const Result<T>& r, const char* what) {
    must(r.status(), what);
    return r.value();
}

}  // namespace

void Services::start_memory(Node& node) {
    tsc_khz_ = node.info().tsc_khz;
    if (const Status s = memory_.take_all(node); s != Status::ok) early_failure(memory_.why(), s);
    node_event_ = must(node.create_event(), "an event");
    const Status s = memory_.start(
        node_event_, {node_bit::pmem_died, node_bit::cleared, node_bit::clearer_died});
    if (s != Status::ok) early_failure(memory_.why(), s);
}

Channel Services::make_channel(const ChannelOptions& options) {
    return must(channels_.add(options), "a console channel");
}

void Services::start_console(Node& node) {
    console_event_ = must(node.create_event(), "an event");
    must(channels_.open(node, console_event_, node_event_, node_bit::channels),
         "the console's channels");
    init_log_ = make_channel({ChannelKind::log, "init", channel_flag::trusted});
    open_log(init_log_.here, console_event_, init_log_.bit);
    // Before it starts: what comes in without a channel is lost.
    control_line_ = make_channel({ChannelKind::control, "ctl", channel_flag::tells_room,
                                  node_event_, node_bit::control_line});
    must(console_.prepare(node, channels_, console_event_, node_event_, node_bit::console_died),
         "the console's devices");
    const std::uint64_t window = node.ticks(restart_window_ms * 1000);
    console_life_.configure({restart_limit, window, window});
    while (console_life_.state() != ServiceLife::State::running)
        if (!load_console()) early_failure(console_.why(), Status::no_memory);
}

bool Services::load_console() {
    bool done = false;
    if (console_.load_piece(console_life_.begins_anew(), done) != Status::ok) return false;
    if (done) {
        console_life_.started();
        console_watch_.begin(tsc_khz_ * hang_ms, rdtsc());
        turns_ = channels_.turns();
    }
    return true;
}

// What init has to say is in its ring until there is a console again; a person at the terminal is told at once if that
// takes long.
void Services::console_failed(const char* why, bool worked, bool killed) {
    console_.release();
    console_watch_.end();
    console_life_.died(worked, killed, rdtsc());
    const bool pauses = console_life_.state() == ServiceLife::State::pausing;
    log("margay: the console {}; it is started again{}\n", why,
        pauses ? " after a pause of 10 s" : "");
    if (pauses)
        say_directly(
            "\r\nmargay: the console died too often; the node goes on without it for 10 s\r\n");
}

// One that rests is left alone: it counts no turns either.
void Services::watch_console(std::uint64_t now) {
    switch (console_watch_.look({now, channels_.is_busy(), channels_.turns()})) {
    case ServiceFinding::well: return;
    // It may wait for its line to take something.
    case ServiceFinding::stands: return channels_.ask_for_turn();
    case ServiceFinding::hangs: hung_ = console_.kill() == Status::ok; return;
    }
}

void Services::kill_for_test(std::uint64_t microseconds) {
    killer_.configure(tsc_khz_ * microseconds / 1000, 1);
    killer_.schedule(rdtsc());
}

void Services::start_devices(Node& node, const Firmware& firmware) {
    devices_.start(node, firmware, node_event_, {node_bit::pci_died, node_bit::pci_told});
}

// By turns; one that there is not is left out.
void Services::kill_next() {
    switch (victim_++ % (devices_.is_there() ? 3 : 2)) {
    case 0:
        if (console_life_.state() == ServiceLife::State::running)
            killed_ = console_.kill() == Status::ok;
        break;
    case 1: (void)memory_.kill(); break;
    default: (void)devices_.kill(); break;
    }
}

void Services::look(std::uint64_t bits) {
    memory_.look(bits);
    devices_.look(bits);
    const std::uint64_t now = rdtsc();
    const bool runs = console_life_.state() == ServiceLife::State::running;
    if (runs) watch_console(now);
    if (((bits & node_bit::console_died) != 0 || hung_) && runs && console_.is_dead()) {
        // A turn that never ended is no work done.
        const std::uint32_t turns = channels_.turns() - turns_;
        console_failed(hung_ ? "hung and was ended" : "died", hung_ ? turns > 1 : turns != 0,
                       killed_);
        killed_ = hung_ = false;
    }
    (void)console_life_.begin(now);
    if (now >= killer_.next()) {
        killer_.schedule(now);
        kill_next();
    }
}

std::uint64_t Services::next_look() const {
    if (console_life_.state() == ServiceLife::State::loading) return 0;
    return std::min({console_life_.next_look(), console_watch_.next_look(), memory_.next_look(),
                     devices_.next_look(), killer_.next()});
}

void Services::do_piece() {
    devices_.do_piece();
    if (console_life_.state() == ServiceLife::State::loading && !load_console())
        console_failed(console_.why(), channels_.turns() != turns_, false);
}

void Services::open_node_terminal() {
    node_terminal_ = make_channel(
        {ChannelKind::terminal, "node", channel_flag::tells_room, node_event_, node_bit::terminal});
}

bool Services::drain() {
    const std::uint64_t end = rdtsc() + tsc_khz_ * 1000;
    for (;;) {
        const std::uint64_t now = rdtsc();
        if (channels_.is_drained() || now >= end) break;
        look(node_bit::console_died);
        do_piece();
        (void)wait(node_event_, next_look() < now ? now : now + tsc_khz_);
    }
    // The last bytes are on their way from the console's hands to the UART.
    const std::uint64_t sent = rdtsc() + tsc_khz_ * 2;
    while (rdtsc() < sent) (void)wait(node_event_, sent);
    return channels_.is_drained();
}

}  // namespace margay::init
