// console: owns the serial lines and their interrupts. COM1 shows one ring per server and per VM and
// the node console; COM2 belongs to one channel alone.
#include "libipc/log.hpp"
#include "libipc/start.hpp"
#include "libipc/startup.hpp"
#include "servers/console/serial_port.hpp"

namespace margay::console {

namespace {

// While output flows the console looks again after this long instead of being rung for every byte.
constexpr std::uint64_t linger_us = 500;
// The same while nobody takes the bytes of the second line: that may last.
constexpr std::uint64_t stuck_us = 10'000;

struct Client {
    ConsoleChannel* channel = nullptr;
    Slot event = no_slot;  // signalled when something was typed for it
    std::uint64_t bits = 0;
    bool wants_room = false;  // also signalled when all its output has been taken
    bool had_output = false;

    void notify() const {
        if (event != no_slot) (void)signal(event, bits);
    }
    void before_turn() { had_output = wants_room && !channel->output.is_empty(); }
    void after_turn() {
        if (had_output && channel->output.is_empty()) notify();
    }
};
Client clients[max_channels];
unsigned client_count = 0;
Client control_client;  // of the second line

const StartupItem& need(std::string_view name) {
    const StartupItem* item = find_startup_item(name);
    if (item == nullptr) fail("the start-up block lacks an item", Status::not_found);
    return *item;
}

Client client_of(const StartupItem& item, bool wants_room) {
    return {mapped<ConsoleChannel>(item), item.slot, item.value, wants_room};
}

void add_channels(Multiplexer& mux) {
    const Startup& s = startup();
    for (unsigned i = 0; i < s.count && client_count < max_channels; ++i) {
        const StartupItem& item = s.item[i];
        const std::string_view name{item.name};
        if (name == "ctl:") {
            control_client = client_of(item, true);
            continue;
        }
        const bool node = name == "node:";
        const bool detached = name.starts_with("vd:");
        const bool terminal = node || detached || name.starts_with("vm:");
        if (!terminal && !name.starts_with("log:")) continue;
        std::string_view shown = node ? std::string_view{"node"} : name;
        if (!node) shown.remove_prefix(terminal ? 3 : 4);
        ChannelInfo info{
            mapped<ConsoleChannel>(item), {}, terminal ? ChannelKind::terminal : ChannelKind::log};
        for (unsigned k = 0; k < shown.size(); ++k) info.name[k] = shown[k];
        clients[client_count++] = client_of(item, node);
        mux.add(info, !detached);
    }
}

Slot bind(const char* item, Slot event, std::uint64_t bit) {
    const Slot irq = need(item).slot;
    if (const Status s = irq_ctl(irq, IrqOp::bind, event, bit); s != Status::ok)
        fail("a serial interrupt cannot be bound", s);
    return irq;
}

// The second line, or null: not every machine has one.
RawLine* open_second_line(Slot event, Slot& irq) {
    const StartupItem* item = find_startup_item("serial2");
    if (item == nullptr || control_client.channel == nullptr) return nullptr;
    static SerialPort port{item->slot, static_cast<std::uint16_t>(item->value)};
    if (!port.is_there()) return nullptr;
    port.set_speed();
    port.init();
    irq = bind("irq2", event, console_bit::serial2);
    static RawLine line{port, *control_client.channel};
    return &line;
}

// Where lines of servers go, if not among the rest.
SerialPort* open_log_line() {
    const StartupItem* item = find_startup_item("log_serial");
    if (item == nullptr) return nullptr;
    static SerialPort port{item->slot, static_cast<std::uint16_t>(item->value)};
    return port.is_there() ? &port : nullptr;
}

struct Turn {
    bool moved = false;
    bool stuck = false;
};

Turn take_turn(Multiplexer& mux, RawLine* line, ConsoleControl& control) {
    for (unsigned i = 0; i < client_count; ++i) clients[i].before_turn();
    Turn turn{mux.drain(), false};
    // After that: what was put before the request belongs to the terminal that was shown.
    if (const std::uint32_t wanted = control.attach.exchange(0); wanted != 0)
        mux.attach(wanted - 1);
    for (unsigned i = 0; i < client_count; ++i) clients[i].after_turn();
    if (line == nullptr) return turn;
    control_client.before_turn();
    const RawLine::Turn raw = line->move();
    control_client.after_turn();
    if (raw.received) control_client.notify();
    turn.moved |= raw.moved;
    turn.stuck = raw.waiting && !raw.moved;
    return turn;
}

}  // namespace

}  // namespace margay::console

void program_main(std::uint64_t) {
    using namespace margay;
    using namespace margay::console;
    open_startup_log();
    const Slot event = need("event").slot;
    static SerialPort port{need("serial").slot, static_cast<std::uint16_t>(need("serial").value)};
    static Multiplexer mux{port, open_log_line()};
    add_channels(mux);
    ConsoleControl& control = *mapped<ConsoleControl>(need("control"));
    port.init();
    const Slot irq = bind("irq", event, console_bit::serial);
    Slot irq2 = no_slot;
    RawLine* const line = open_second_line(event, irq2);
    const auto ask_for_doorbells = [&](bool wanted) {
        mux.doorbells(wanted);
        if (line != nullptr) control_client.channel->wants_doorbell.store(wanted ? 1 : 0);
    };

    const std::uint64_t khz = startup().tsc_khz;
    bool flowing = true;
    for (;;) {
        char c;
        while (port.get(c)) {
            const int to = mux.type(c);
            if (to >= 0) clients[to].notify();
        }
        Turn turn = take_turn(mux, line, control);
        if (!turn.moved && flowing) {
            // Ask for doorbells, then look once more: a byte put in between rings or is seen.
            ask_for_doorbells(true);
            turn = take_turn(mux, line, control);
        }
        flowing = turn.moved;
        if (flowing) ask_for_doorbells(false);
        (void)irq_ctl(irq, IrqOp::acknowledge);
        if (line != nullptr) (void)irq_ctl(irq2, IrqOp::acknowledge);
        const std::uint64_t pause = flowing ? linger_us : turn.stuck ? stuck_us : 0;
        (void)wait(event, pause != 0 ? rdtsc() + khz * pause / 1000 : no_deadline);
    }
}
