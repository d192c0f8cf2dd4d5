// What servers read of memory that a hostile partner writes: rings and texts with any content, changed at
// any time.
//
// Input: steps of one byte, with operands behind it. The low bits say what is done.
#include <atomic>
#include <memory>

#include "proto/vm_control.hpp"
#include "servers/console/control_port.hpp"
#include "servers/console/screen.hpp"
#include "tests/fuzz/input.hpp"

using namespace margay;
using namespace margay::console;
using margay::fuzz::Input;
using margay::fuzz::require;

namespace {

struct Nobody final : Clients {
    void notify(unsigned) override {}
};

// The indices of both rings, and the texts.
void scribble(ConsoleChannel& c, VmControl& control, Input& input) {
    auto* output = reinterpret_cast<std::atomic<std::uint32_t>*>(&c.output);
    auto* typed = reinterpret_cast<std::atomic<std::uint32_t>*>(&c.input);
    const auto where = input.take<std::uint8_t>();
    const auto value = input.take<std::uint32_t>();
    (where & 2 ? output : typed)[where & 1] = value;
    reinterpret_cast<char*>(&control.reason)[where % sizeof(control.reason)] =
        static_cast<char>(value);
}

// The console with its two lines, which take everything.
struct Console {
    Nobody nobody;
    Undo undo;
    Channels channels{nobody, undo};
    Outgoing first, second;
    Screen screen{channels, first, undo, true};
    ControlPort port{channels, second, nobody, undo, 1000};
    std::size_t sent = 0;

    void type(char c) {
        screen.type(c);
        undo.commit();
    }
    void receive(char c, std::uint64_t now) {
        port.receive(c, now);
        undo.commit();
    }
    void turn(std::uint64_t now) {
        (void)screen.pass_on(now);
        (void)port.pass_on(now);
        channels.begin_turn();
        screen.keep();
        port.keep();
        (void)channels.move(now);
        (void)screen.show();
        (void)port.show();
        for (Outgoing* out : {&first, &second})
            for (; !out->is_empty(); out->pop()) ++sent;
    }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input{data, size};
    const auto console = std::make_unique<Console>();
    std::unique_ptr<ConsoleChannel> memory[3];
    constexpr ChannelKind kinds[] = {ChannelKind::log, ChannelKind::terminal, ChannelKind::control};
    for (unsigned i = 0; i < 3; ++i) {
        memory[i] = std::make_unique<ConsoleChannel>();
        console->channels.add(i, kinds[i], "vm", 0, *memory[i]);
    }
    console->screen.look_for_terminal();
    frame::write([&](char c) { console->receive(c, 0); }, frame::type::open, 1, "console vm");
    const auto control = std::make_unique<VmControl>();
    std::uint64_t turns = 0;
    while (!input.empty()) {
        const auto what = input.take<std::uint8_t>();
        ConsoleChannel& c = *memory[(what >> 3) % 3];
        char byte;
        switch (what & 7) {
        case 0:
        case 1: scribble(c, *control, input); break;
        case 2: (void)c.output.put(static_cast<char>(what)); break;
        case 3: console->type(static_cast<char>(what)); break;
        case 4: (void)c.input.get(byte); break;
        case 5: console->turn(++turns); break;
        case 6:
            if (console->port.has_room())
                console->receive(static_cast<char>(input.take<char>()), turns);
            break;
        default:
            require(control->reason.copy().view().size() < sizeof(control->reason), "a text ends");
            break;
        }
        require(c.output.used() <= c.output.capacity && c.input.room() <= c.input.capacity,
                "a ring is bounded");
    }
    console->turn(++turns);
    require(console->sent <= turns * 2 * Outgoing::capacity, "a turn is bounded");
    return 0;
}
