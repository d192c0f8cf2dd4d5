// console: owns the serial line and its interrupt; shows one ring per server and per VM.
#include "libipc/log.hpp"
#include "libipc/start.hpp"
#include "libipc/startup.hpp"
#include "servers/console/serial_port.hpp"

namespace margay::console {

namespace {

// While output flows the console looks again after this long instead of being rung for every byte.
constexpr std::uint64_t linger_us = 500;

struct Client {
    Slot event = no_slot;  // signalled when something was typed for it
    std::uint64_t bits = 0;
};
Client clients[max_channels];

const StartupItem& need(std::string_view name) {
    const StartupItem* item = find_startup_item(name);
    if (item == nullptr) fail("the start-up block lacks an item", Status::not_found);
    return *item;
}

void add_channels(Multiplexer& mux) {
    const Startup& s = startup();
    unsigned count = 0;
    for (unsigned i = 0; i < s.count && count < max_channels; ++i) {
        const StartupItem& item = s.item[i];
        const std::string_view name{item.name};
        const bool detached = name.starts_with("vd:");
        const bool terminal = detached || name.starts_with("vm:");
        if (!terminal && !name.starts_with("log:")) continue;
        ChannelInfo info{
            mapped<ConsoleChannel>(item), {}, terminal ? ChannelKind::terminal : ChannelKind::log};
        std::string_view shown = name;
        shown.remove_prefix(terminal ? 3 : 4);
        for (unsigned k = 0; k < shown.size(); ++k) info.name[k] = shown[k];
        clients[count++] = {item.slot, item.value};
        mux.add(info, !detached);
    }
}

}  // namespace

}  // namespace margay::console

void program_main(std::uint64_t) {
    using namespace margay;
    using namespace margay::console;
    open_startup_log();
    const Slot event = need("event").slot;
    static SerialPort port{need("serial").slot, static_cast<std::uint16_t>(need("serial").value)};
    static Multiplexer mux{port};
    add_channels(mux);
    port.init();
    const Slot irq = need("irq").slot;
    if (const Status s = irq_ctl(irq, IrqOp::bind, event, console_bit::serial); s != Status::ok)
        fail("the serial interrupt cannot be bound", s);

    const std::uint64_t linger = startup().tsc_khz * linger_us / 1000;
    bool flowing = true;
    for (;;) {
        char c;
        while (port.get(c)) {
            const int to = mux.type(c);
            if (to >= 0 && clients[to].event != no_slot)
                (void)signal(clients[to].event, clients[to].bits);
        }
        const bool moved = mux.drain();
        if (!moved && flowing) {
            // Ask for doorbells, then look once more: a byte put in between rings or is seen.
            mux.doorbells(true);
            flowing = mux.drain();
        } else {
            flowing = moved;
        }
        if (flowing) mux.doorbells(false);
        (void)irq_ctl(irq, IrqOp::acknowledge);
        (void)wait(event, flowing ? rdtsc() + linger : no_deadline);
    }
}
