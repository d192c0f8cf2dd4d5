// console: owns the serial lines and their interrupts. COM1 shows one terminal and the lines of all servers;
// COM2 is the node's control line.
//
// It sleeps until an interrupt or a client wakes it. While output flows it lets some pass before it looks
// again, so that it is not rung for every byte; it waits for no line and for no client.
#include <new>

#include "libipc/log.hpp"
#include "libipc/start.hpp"
#include "libipc/startup.hpp"
#include "servers/console/control_port.hpp"
#include "servers/console/screen.hpp"
#include "servers/console/serial_port.hpp"

namespace margay::console {

namespace {

// While output flows the console looks again after this long.
constexpr std::uint64_t linger_us = 500;
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

// A line with its interrupt.
struct Line {
    SerialPort port;
    Slot irq;
    Outgoing out;
    bool is_busy = false;   // it has not taken all yet, and will interrupt
    bool has_more = false;  // this turn's share is used up
};

Line* open_line(const char* ports_item, const char* irq_item, Slot event, std::uint64_t bit,
                void* room) {
    const StartupItem* item = find_startup_item(ports_item);
    if (item == nullptr) return nullptr;
    SerialPort port{item->slot, static_cast<std::uint16_t>(item->value)};
    if (bit == console_bit::serial2) {
        if (!port.is_there()) return nullptr;
        port.set_speed();
    }
    port.init();
    Line* const line = new (room) Line{port, need(irq_item).slot, {}};
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
    ConsoleControl& control_ = *mapped<ConsoleControl>(need("control"));
    SignalledClients clients_;
    Channels channels_{clients_};
    Line* first_;
    Line* second_;
    SerialPort* logs_ = nullptr;  // where lines of servers go instead
    LogBook::Position logged_ = 0;
    Outgoing nowhere_;  // of a second line that is not there
    Screen screen_;
    ControlPort control_port_;
};

alignas(Line) std::byte line_memory[2][sizeof(Line)];
alignas(SerialPort) std::byte log_port_memory[sizeof(SerialPort)];

SerialPort* open_log_line() {
    const StartupItem* item = find_startup_item("log_serial");
    if (item == nullptr) return nullptr;
    SerialPort port{item->slot, static_cast<std::uint16_t>(item->value)};
    return port.is_there() ? new (log_port_memory) SerialPort{port} : nullptr;
}

Server::Server()
    : first_{open_line("serial", "irq", event_, console_bit::serial, line_memory[0])},
      second_{open_line("serial2", "irq2", event_, console_bit::serial2, line_memory[1])},
      logs_{open_log_line()},
      screen_{channels_, first_ != nullptr ? first_->out : nowhere_, logs_ == nullptr},
      control_port_{channels_, second_ != nullptr ? second_->out : nowhere_, clients_, khz_} {}

// Adds and removes channels as the supervisor says.
void Server::follow_table() {
    bool changed = false;
    for (unsigned i = 0; i < max_channels; ++i) {
        ChannelEntry& e = control_.channel[i];
        const std::uint32_t wanted = e.wanted.load(std::memory_order_acquire);
        if (wanted == e.seen.load(std::memory_order_relaxed) &&
            channels_.has(i) == (wanted % 2 != 0))
            continue;
        if (channels_.has(i)) {
            screen_.forget(i);
            control_port_.forget(i);
            channels_.remove(i);
            clients_.set(i, no_slot, 0);
        }
        if (wanted % 2 != 0) {
            std::size_t length = 0;
            while (length + 1 < sizeof(e.name) && e.name[length] != 0) ++length;
            clients_.set(i, e.event, e.bits);
            (void)channels_.add(i, e.kind, {e.name, length}, e.flags,
                                *reinterpret_cast<ConsoleChannel*>(console_channel_address(i)));
        }
        e.seen.store(wanted, std::memory_order_release);
        changed = true;
    }
    if (!changed) return;
    screen_.look_for_terminal();
    const StartupItem& item = need("control");
    if (item.slot != no_slot) (void)signal(item.slot, item.value);
}

template <typename Receiver, typename Take>
void Server::receive(Line& line, Receiver& receiver, const Take& take) {
    unsigned left = turn_received;
    char c;
    for (; left != 0 && receiver.has_room() && line.port.get(c); --left) take(c);
    line.has_more |= left == 0;
}

void Server::send(Line* line) {
    if (line == nullptr) return;
    unsigned sent = 0;
    while (sent < turn_sent && line->port.transmit(line->out)) sent += 16;
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
    while (channels_.log().read(logged_, line, lost)) {
        const auto say = [this](std::string_view text) {
            for (const char c : text) (void)logs_->try_put(c);
        };
        if (channels_.has(line.server) &&
            (channels_.flags(line.server) & channel_flag::trusted) == 0) {
            say("[");
            say(channels_.name(line.server));
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
    if (first_ != nullptr) receive(*first_, screen_, [this](char c) { screen_.type(c); });
    if (second_ != nullptr)
        receive(*second_, control_port_, [&](char c) { control_port_.receive(c, now); });
    (void)screen_.pass_on(now);
    (void)control_port_.pass_on(now);

    channels_.begin_turn();
    screen_.keep();
    if (second_ != nullptr) control_port_.keep();
    bool flows = channels_.move(rdtsc());
    // After that: what was put before the request belongs to the terminal that was shown.
    if (channels_.is_idle())
        if (const std::uint32_t wanted = control_.attach.exchange(0); wanted != 0)
            screen_.attach(wanted - 1);
    flows |= screen_.show();
    if (second_ != nullptr) flows |= control_port_.show();
    if (logs_ != nullptr) write_log_line();
    send(first_);
    send(second_);
    clients_.send();
    return flows;
}

bool Server::has_output() const {
    for (const Line* line : {first_, second_})
        if (line != nullptr && !line->out.is_empty() && !line->out.is_stuck()) return true;
    return !channels_.is_idle();
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
    if (const std::uint64_t ms = screen_.deaf_at(); ms != 0) not_behind(ms);
    return at;
}

void Server::run() {
    follow_table();
    bool rung_for = true;
    for (;;) {
        // Acknowledged first: whatever happens from here on interrupts again.
        for (Line* line : {first_, second_})
            if (line != nullptr) (void)irq_ctl(line->irq, IrqOp::acknowledge);
        control_.busy.store(1);
        control_.turns.store(control_.turns.load() + 1);
        bool flowing = turn();
        if (!flowing && !rung_for) {
            // Ask for doorbells, then look once more: a byte put in between rings or is seen.
            channels_.doorbells(true);
            flowing = turn();
            rung_for = true;
        }
        if (flowing && rung_for) {
            channels_.doorbells(false);
            rung_for = false;
        }
        listen(first_, screen_.has_room());
        listen(second_, control_port_.has_room());
        for (const Line* line : {first_, second_}) flowing |= line != nullptr && line->has_more;
        if (!flowing && !has_output()) control_.busy.store(0);
        const Result<std::uint64_t> bits = wait(event_, deadline(flowing));
        if (bits && (*bits & console_bit::control) != 0) follow_table();
    }
}

}  // namespace

}  // namespace margay::console

void program_main(std::uint64_t) {
    using namespace margay::console;
    static Server server;
    server.run();
}
