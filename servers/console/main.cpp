// console: owns the serial lines and their interrupts. COM1 shows one terminal and the lines of all servers;
// COM2 is the node's control line.
//
// It sleeps until an interrupt or a client wakes it. While output flows it lets some pass before it looks
// again, so that it is not rung for every byte; it waits for no line and for no client.
//
// What it works on outlives it (state.hpp): whenever it dies, its supervisor starts another one that goes on.
#include <new>

#include "libipc/log.hpp"
#include "libipc/start.hpp"
#include "libipc/startup.hpp"
#include "servers/console/serial_port.hpp"
#include "servers/console/state.hpp"
#include "support/wake_budget.hpp"

namespace margay::console {

namespace {

// While output flows the console looks again after this long.
constexpr std::uint64_t linger_us = 500;
// Doorbells beyond so many wait for as long: clients can ring without end. The FIFOs of the lines have room for more.
constexpr unsigned rings_per_ms = 8;
constexpr std::uint64_t pause_us = 150;
// What one turn takes from a line and gives to it, so that a fast line leaves time for others.
constexpr unsigned turn_received = 512, turn_sent = 512;

const StartupItem& need(std::string_view name) {
    const StartupItem* item = find_startup_item(name);
    if (item == nullptr) fail("the start-up block lacks an item", Status::not_found);
    return *item;
}

// Signals are sent at the end of a turn, one for each client.
class SignalledClients final : public Clients {
  public:
    void set(unsigned channel, Slot event, std::uint64_t bits) { client_[channel] = {event, bits}; }
    void notify(unsigned channel) override {
        if (is_due_[channel]) return;
        is_due_[channel] = true;
        due_[due_count_++] = channel;
    }
    void send() {
        while (due_count_ != 0) {
            const unsigned channel = due_[--due_count_];
            is_due_[channel] = false;
            const Client& c = client_[channel];
            if (c.event != no_slot) (void)signal(c.event, c.bits);
        }
    }

  private:
    struct Client {
        Slot event = no_slot;
        std::uint64_t bits = 0;
    };
    Client client_[max_channels];
    bool is_due_[max_channels] = {};
    unsigned due_[max_channels];
    unsigned due_count_ = 0;
};

std::string_view name_of(const ChannelEntry& e) {
    std::size_t length = 0;
    while (length + 1 < sizeof(e.name) && e.name[length] != 0) ++length;
    return {e.name, length};
}

// A line with its interrupt.
struct Line {
    SerialPort port;
    Slot irq;
    Outgoing& out;
    Received& received;
    bool is_busy = false;   // it has not taken all yet, and will interrupt
    bool has_more = false;  // this turn's share is used up
};

// resumes: it is in use, and what is in its FIFOs stays there.
Line* open_line(const char* ports_item, const char* irq_item, Slot event, std::uint64_t bit,
                Outgoing& out, Received& received, bool resumes, void* room) {
    const StartupItem* item = find_startup_item(ports_item);
    if (item == nullptr) return nullptr;
    SerialPort port{item->slot, static_cast<std::uint16_t>(item->value)};
    if (bit == console_bit::serial2) {
        if (!port.is_there()) return nullptr;
        if (!resumes) port.set_speed();
    }
    port.init(!resumes);
    Line* const line = new (room) Line{port, need(irq_item).slot, out, received};
    if (const Status s = irq_ctl(line->irq, IrqOp::bind, event, bit); s != Status::ok)
        fail("a serial interrupt cannot be bound", s);
    return line;
}

class Server {
  public:
    Server();
    [[noreturn]] void run();

  private:
    std::uint64_t now_ms() const { return rdtsc() / khz_; }
    bool resume();
    void set_client(unsigned index);
    void follow_table();
    void follow_attach();
    // The parts of a turn. True if bytes came from the rings of clients.
    bool turn();
    template <typename Receiver, typename Take>
    void receive(Line& line, Receiver& receiver, const Take& take);
    void send(Line* line);
    void listen(Line* line, bool receives);
    void write_log_line();
    bool has_output() const;
    std::uint64_t deadline(bool flowing) const;

    const std::uint64_t khz_ = startup().tsc_khz;
    const Slot event_ = need("event").slot;
    const Slot pause_ = need("pause").slot;  // an Event that nobody signals
    WakeBudget budget_{khz_, rings_per_ms, khz_* pause_us / 1000};
    ConsoleControl& control_ = *mapped<ConsoleControl>(need("control"));
    KeptState& kept_ = *mapped<KeptState>(need("state"));
    State& state_ = kept_.state();
    SignalledClients clients_;
    SerialPort* logs_;  // where lines of servers go instead
    Line* first_ = nullptr;
    Line* second_ = nullptr;
};

alignas(Line) std::byte line_memory[2][sizeof(Line)];
alignas(SerialPort) std::byte log_port_memory[sizeof(SerialPort)];

SerialPort* open_log_line() {
    const StartupItem* item = find_startup_item("log_serial");
    if (item == nullptr) return nullptr;
    SerialPort port{item->slot, static_cast<std::uint16_t>(item->value)};
    return port.is_there() ? new (log_port_memory) SerialPort{port} : nullptr;
}

Server::Server() : logs_{open_log_line()} {
    const bool resumes = kept_.is_complete() && resume();
    if (!resumes) {
        kept_.mark = 0;
        new (&state_) State{clients_, logs_ == nullptr, khz_};
        kept_.mark = KeptState::complete;
    }
    first_ = open_line("serial", "irq", event_, console_bit::serial, state_.out[0],
                       state_.received[0], resumes, line_memory[0]);
    second_ = open_line("serial2", "irq2", event_, console_bit::serial2, state_.out[1],
                        state_.received[1], resumes, line_memory[1]);
}

// Goes on with what a console has left that died.
bool Server::resume() {
    Channels& channels = state_.channels;
    channels.begin_resume(clients_, state_.undo);
    for (unsigned i = 0; i < max_channels; ++i) {
        const ChannelEntry& e = control_.channel[i];
        const std::uint32_t wanted = e.wanted.load(std::memory_order_acquire);
        if (wanted % 2 == 0 || channels.since(i) != wanted) {
            channels.remove(i);
            continue;
        }
        set_client(i);
        channels.keep(i, e.kind, name_of(e), e.flags,
                      *reinterpret_cast<ConsoleChannel*>(console_channel_address(i)));
    }
    return state_.resume(clients_, logs_ == nullptr, khz_, now_ms());
}

void Server::set_client(unsigned index) {
    const ChannelEntry& e = control_.channel[index];
    clients_.set(index, e.event, e.bits);
}

// Adds and removes channels as the supervisor says.
void Server::follow_table() {
    bool changed = false;
    for (unsigned i = 0; i < max_channels; ++i) {
        ChannelEntry& e = control_.channel[i];
        const std::uint32_t wanted = e.wanted.load(std::memory_order_acquire);
        if (wanted == e.seen.load(std::memory_order_relaxed) &&
            state_.channels.has(i) == (wanted % 2 != 0))
            continue;
        if (state_.channels.has(i)) {
            state_.screen.forget(i);
            state_.port.forget(i);
            state_.channels.remove(i);
            clients_.set(i, no_slot, 0);
        }
        if (wanted % 2 != 0) {
            set_client(i);
            (void)state_.channels.add(
                i, e.kind, name_of(e), e.flags,
                *reinterpret_cast<ConsoleChannel*>(console_channel_address(i)), wanted);
        }
        e.seen.store(wanted, std::memory_order_release);
        changed = true;
    }
    if (!changed) return;
    state_.screen.look_for_terminal();
    const StartupItem& item = need("control");
    if (item.slot != no_slot) (void)signal(item.slot, item.value);
}

template <typename Receiver, typename Take>
void Server::receive(Line& line, Receiver& receiver, const Take& take) {
    unsigned left = turn_received;
    Received& r = line.received;
    for (; left != 0 && receiver.has_room(); --left) {
        if (r.is_empty()) line.port.take(r);
        if (r.is_empty()) break;
        take(r.front());
        state_.undo.save(r.place);
        ++r.place;
        state_.undo.commit();
    }
    line.has_more |= left == 0;
}

void Server::send(Line* line) {
    if (line == nullptr) return;
    unsigned sent = 0;
    // What a person reads is repeated by one byte at most if this dies; replies and frames are none then anyway.
    const auto step = [line, is_control = line == second_] {
        return is_control ? line->port.transmit_at_once(line->out) : line->port.transmit(line->out);
    };
    while (sent < turn_sent && step()) sent += 16;
    line->has_more |= sent >= turn_sent;
    const bool was_stuck = line->out.is_stuck();
    line->out.look(now_ms(), sent != 0);
    // What waited for it need not wait any more.
    line->has_more |= line->out.is_stuck() && !was_stuck;
    line->is_busy = !line->out.is_empty() && !line->has_more;
}

void Server::listen(Line* line, bool receives) {
    if (line == nullptr) return;
    line->port.listen(receives, line->is_busy);
    // What happened before that does not interrupt.
    line->has_more |= line->port.has_work(receives, line->is_busy);
}

// Without an interrupt of its own: what that line does not take at once is dropped.
void Server::write_log_line() {
    LogLine line;
    bool lost = false;
    while (state_.channels.log().read(state_.logged, line, lost)) {
        const auto say = [this](std::string_view text) {
            for (const char c : text) (void)logs_->try_put(c);
        };
        if (state_.channels.has(line.server) &&
            (state_.channels.flags(line.server) & channel_flag::trusted) == 0) {
            say("[");
            say(state_.channels.name(line.server));
            say("] ");
        }
        say(line.view());
        say("\r\n");
    }
}

bool Server::turn() {
    const std::uint64_t now = now_ms();
    for (Line* line : {first_, second_})
        if (line != nullptr) line->has_more = false;
    if (first_ != nullptr)
        receive(*first_, state_.screen, [this](char c) { state_.screen.type(c); });
    if (second_ != nullptr)
        receive(*second_, state_.port, [&](char c) { state_.port.receive(c, now); });
    (void)state_.screen.pass_on(now);
    (void)state_.port.pass_on(now);

    state_.channels.begin_turn();
    state_.screen.keep();
    if (second_ != nullptr) state_.port.keep();
    bool flows = state_.channels.move(rdtsc());
    // After that: what was put before the request belongs to the terminal that was shown.
    if (state_.channels.is_idle())
        if (std::uint32_t wanted = control_.attach.load(); wanted != 0) {
            state_.screen.attach(wanted - 1);
            (void)control_.attach.compare_exchange_strong(wanted, 0);
        }
    flows |= state_.screen.show();
    if (second_ != nullptr) flows |= state_.port.show();
    if (logs_ != nullptr) write_log_line();
    send(first_);
    send(second_);
    clients_.send();
    return flows;
}

bool Server::has_output() const {
    for (const Line* line : {first_, second_})
        if (line != nullptr && !line->out.is_empty() && !line->out.is_stuck()) return true;
    return !state_.channels.is_idle();
}

// Until when to sleep if nothing happens.
std::uint64_t Server::deadline(bool flowing) const {
    const std::uint64_t now = rdtsc();
    if (flowing) return now + khz_ * linger_us / 1000;
    std::uint64_t at = no_deadline;
    const auto not_behind = [&](std::uint64_t ms) {
        if (ms * khz_ < at) at = ms * khz_;
    };
    for (const Line* line : {first_, second_})
        if (line != nullptr && line->is_busy && !line->out.is_stuck())
            not_behind(line->out.stuck_at());
    if (const std::uint64_t ms = state_.screen.deaf_at(); ms != 0) not_behind(ms);
    return at;
}

void Server::run() {
    control_.busy.store(1);
    follow_table();
    // Whatever the console before this one has asked for.
    bool rung_for = false;
    for (;;) {
        // Acknowledged first: whatever happens from here on interrupts again.
        for (Line* line : {first_, second_})
            if (line != nullptr) (void)irq_ctl(line->irq, IrqOp::acknowledge);
        control_.turns.store(control_.turns.load() + 1);
        bool flowing = turn();
        if (!flowing && !rung_for) {
            // Ask for doorbells, then look once more: a byte put in between rings or is seen.
            state_.channels.doorbells(true);
            flowing = turn();
            rung_for = true;
        }
        if (flowing && rung_for) {
            state_.channels.doorbells(false);
            rung_for = false;
        }
        listen(first_, state_.screen.has_room());
        listen(second_, state_.port.has_room());
        for (const Line* line : {first_, second_}) flowing |= line != nullptr && line->has_more;
        if (!flowing && !has_output()) control_.busy.store(0);
        const Result<std::uint64_t> signalled = wait(event_, deadline(flowing));
        const std::uint64_t bits = signalled ? *signalled : 0;
        // From here on a turn is due: whoever watches sees whether there is one.
        control_.busy.store(1);
        if ((bits & console_bit::control) != 0) follow_table();
        if (bits == 0 || (bits & ~console_bit::channels) != 0) continue;
        if (const std::uint64_t until = budget_.woken(rdtsc()); until != 0)
            (void)wait(pause_, until);
    }
}

}  // namespace

}  // namespace margay::console

void program_main(std::uint64_t) {
    using namespace margay::console;
    static Server server;
    server.run();
}
