// What servers read of memory that a hostile partner writes: rings and texts with any content, changed at
// any time.
//
// Input: steps of one byte, with operands behind it. The low bits say what is done.
#include <atomic>
#include <memory>

#include "proto/console.hpp"
#include "proto/vm_control.hpp"
#include "servers/console/multiplexer.hpp"
#include "servers/console/raw_line.hpp"
#include "tests/fuzz/input.hpp"

using namespace margay;
using namespace margay::console;
using margay::fuzz::Input;
using margay::fuzz::require;

namespace {

struct Line final : SerialSink, RawPort {
    std::size_t sent = 0;
    void put(char) override { ++sent; }
    bool try_put(char) override {
        ++sent;
        return true;
    }
    bool get(char&) override { return false; }
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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input{data, size};
    const auto mux_line = std::make_unique<Line>(), raw_port = std::make_unique<Line>();
    const auto mux = std::make_unique<Multiplexer>(*mux_line);
    std::unique_ptr<ConsoleChannel> channels[3];
    for (auto& c : channels) c = std::make_unique<ConsoleChannel>();
    mux->add({channels[0].get(), "log", ChannelKind::log});
    mux->add({channels[1].get(), "vm", ChannelKind::terminal});
    RawLine raw{*raw_port, *channels[2]};
    const auto control = std::make_unique<VmControl>();
    std::size_t steps = 0;
    for (; !input.empty(); ++steps) {
        const auto what = input.take<std::uint8_t>();
        ConsoleChannel& c = *channels[(what >> 3) % 3];
        char byte;
        switch (what & 7) {
        case 0:
        case 1: scribble(c, *control, input); break;
        case 2: (void)c.output.put(static_cast<char>(what)); break;
        case 3: (void)mux->type(static_cast<char>(what)); break;
        case 4: (void)c.input.get(byte); break;
        case 5: (void)mux->drain(); break;
        case 6: (void)raw.move(); break;
        default:
            require(control->reason.copy().view().size() < sizeof(control->reason), "a text ends");
            break;
        }
        require(c.output.used() <= c.output.capacity && c.input.room() <= c.input.capacity,
                "a ring is bounded");
    }
    constexpr std::size_t most = 3 * ByteRing<16384>::capacity;
    require(mux_line->sent <= steps * most && raw_port->sent <= steps * most, "a turn is bounded");
    return 0;
}
