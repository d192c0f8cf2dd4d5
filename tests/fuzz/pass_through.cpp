// A guest and the functions that it drives: any configuration space, any access, messages at any time.
//
// Input: shapes of two functions and their configuration space, then operations of {kind (1), place (2), value (1 to 8)}.
#include "tests/fuzz/input.hpp"

#include "proto/vm_control.hpp"
#include "servers/vmm/devices/pass_through.hpp"

using namespace margay;
using namespace margay::vmm;
using margay::fuzz::Input;
using margay::fuzz::require;

namespace {

constexpr std::uint64_t nowhere = ~0ULL;

struct Hands final : FunctionHands {
    explicit Hands(const GuestFunctions& functions) : f{functions} {
        for (std::uint64_t& at : mapped) at = nowhere;
    }
    bool map(unsigned part, std::uint64_t gpa, std::uint64_t touched) override {
        const FunctionPart& p = f.part[part];
        require(part < f.parts && p.is_trapped == 0, "what is trapped is not mapped");
        require(gpa % page_size == 0 && touched - gpa < p.size, "what was touched");
        require(
            (gpa >= function_window && gpa - function_window <= function_window_bytes - p.size) ||
                (gpa >= f.high_window && gpa - f.high_window <= f.high_window_bytes - p.size),
            "neither RAM nor an APIC");
        require(mapped[part] == nowhere || mapped[part] == gpa, "it was taken away before");
        mapped[part] = gpa;
        return true;
    }
    void unmap(unsigned part) override { mapped[part] = nowhere; }
    std::uint64_t read(unsigned part, std::uint64_t offset, unsigned width) override {
        check(part, offset, width);
        return 0x1122'3344'5566'7788;
    }
    void write(unsigned part, std::uint64_t offset, unsigned width, std::uint64_t) override {
        check(part, offset, width);
        const FunctionPart& p = f.part[part];
        const GuestFunction& g = f.function[p.function];
        const bool in_table =
            p.bar == g.table_bar && p.offset + offset + width > g.table_offset &&
            p.offset + offset < g.table_offset + std::uint64_t{g.messages} * MsixTable::entry_bytes;
        require(!in_table || sets_up, "the real table is the node's");
    }
    std::uint32_t port_read(unsigned part, std::uint64_t offset, unsigned width) override {
        check_ports(part, offset, width);
        return 0x1122'3344;
    }
    void port_write(unsigned part, std::uint64_t offset, unsigned width, std::uint32_t) override {
        check_ports(part, offset, width);
    }
    void check_ports(unsigned part, std::uint64_t offset, unsigned width) const {
        require(part < f.parts && f.part[part].is_ports != 0, "ports");
        require(offset + width <= f.part[part].size, "of the function");
    }
    void acknowledge(unsigned line) override {
        require(line < max_guest_functions, "a line of the VM");
    }
    void want(unsigned function, std::uint64_t word) override {
        require(function < f.count && sets_up, "an exit of its own");
        wanted[function] = word;
    }
    std::uint64_t granted(unsigned function) override { return grant[function]; }
    std::optional<InterruptMessage> message(unsigned number) override {
        require(number < max_guest_messages, "a message of the VM");
        return InterruptMessage{0xfee0'0000, 0x4000 + number};
    }
    void direct(unsigned number, unsigned cpu) override {
        require(number < max_guest_messages && cpu < 2, "a message and a vCPU of the VM");
    }
    void check(unsigned part, std::uint64_t offset, unsigned width) const {
        require(part < f.parts && f.part[part].is_trapped != 0, "a trapped part");
        require(offset % width == 0 && offset + width <= f.part[part].size, "within it");
    }

    const GuestFunctions& f;
    std::uint64_t mapped[max_function_parts];
    std::uint64_t wanted[max_guest_functions] = {}, grant[max_guest_functions] = {};
    bool sets_up = false;
};

struct Bus final : ApicBus {
    void deliver(const ApicMessage& m) override {
        require(m.mode == DeliveryMode::fixed || m.mode == DeliveryMode::lowest_priority ||
                    m.mode == DeliveryMode::nmi || m.mode == DeliveryMode::init,
                "a message that a device can send");
    }
    std::optional<unsigned> recipient(const ApicMessage& m) const override {
        if (m.destination > 1) return {};
        return m.destination;
    }
    void broadcast(const ApicMessage&, std::uint32_t, bool) override { require(false, "no IPI"); }
    void end_of_interrupt(std::uint8_t) override {}
};

struct Lines final : IrqLines {
    void set_irq_line(unsigned irq, bool) override {
        require(irq >= first_function_line && irq < first_function_line + max_guest_functions,
                "a line of a function");
    }
};

struct Control final : MachineControl {
    void power_off() override { require(false, "no power button"); }
    void reset() override { require(false, "no reset"); }
    void await_function(unsigned function) override { awaits = function; }
    unsigned awaits = ~0U;
};

void describe(Input& input, GuestFunctions& f, unsigned n) {
    GuestFunction& g = f.function[n];
    const unsigned shape = input.take<std::uint8_t>();
    g.first_message = static_cast<std::uint16_t>(n * 20);
    g.messages = static_cast<std::uint16_t>(shape & 15);
    const bool is_wide = (shape & 16) != 0;
    g.bar_size[0] = page_size << (shape >> 5);
    g.bar_flags[0] = is_wide ? 4 : 0;
    if ((shape & 32) != 0) g.bar_size[is_wide ? 2 : 1] = page_size;
    g.bar_size[5] = 4U << (shape & 7);
    g.bar_flags[5] = 1;
    g.table_bar = g.pending_bar = 0;
    g.pending_offset = static_cast<std::uint32_t>(g.messages * MsixTable::entry_bytes);
    g.msi_messages = static_cast<std::uint8_t>(g.messages & 1 << (shape >> 5));
    g.line = static_cast<std::uint8_t>((shape >> 4) % 3);
    const auto config = input.take_bytes(160);
    std::memcpy(g.config, config.data(), config.size());
    for (unsigned bar = 0; bar < pci_bars; ++bar) {
        if (g.bar_size[bar] == 0) continue;
        FunctionPart& p = f.part[f.parts];
        p.function = static_cast<std::uint8_t>(n), p.bar = static_cast<std::uint8_t>(bar);
        p.is_trapped = bar == 0;
        p.is_ports = g.bar_flags[bar] == 1;
        p.size = bar == 0 ? page_size : g.bar_size[bar];
        p.memory = static_cast<std::uint8_t>(f.parts++);
        if (bar != 0 || g.bar_size[0] == page_size) continue;
        FunctionPart& behind = f.part[f.parts];
        behind = p;
        behind.is_trapped = 0, behind.offset = page_size, behind.size = g.bar_size[0] - page_size;
        behind.memory = static_cast<std::uint8_t>(f.parts++);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input{data, size};
    static GuestFunctions f;
    f = {};
    f.count = 2;
    f.high_window = 0x1'0000'0000, f.high_window_bytes = 0x1000'0000;
    for (unsigned n = 0; n < f.count; ++n) describe(input, f, n);
    static StateSlot<PciFunctionsState> state;
    static StateSlot<MsixTableState> messages;
    state = {}, messages = {};
    MsixTable::reset(messages.live);
    Transaction transaction;
    Hands hands{f};
    Bus bus;
    Lines lines;
    Control control;
    PassThrough pass_through{
        {f, hands, control, bus, lines, {state, transaction}, {messages, transaction}}};

    std::uint64_t number = 0;
    for (unsigned operations = 0; !input.empty() && operations < 500; ++operations) {
        transaction.begin(++number);
        const unsigned kind = input.take<std::uint8_t>();
        const unsigned place = input.take<std::uint16_t>();
        const unsigned device = 2 + (kind >> 4 & 1);
        const PciFunctionState& now = state.live.function[kind >> 4 & 1];
        const std::uint64_t high = (kind & 64) != 0 ? std::uint64_t{now.bar[1]} << 32 : 0;
        const std::uint64_t gpa = (high | (now.bar[kind >> 5 & 1] & ~std::uint64_t{0xfff})) + place;
        const unsigned width = 1U << (place & 1 ? 0 : place >> 1 & 3);
        switch (kind & 7) {
        case 0: {
            const unsigned w = 1U << (place >> 8) % 3;
            const std::uint32_t whole = pass_through.config_read(device, place & 0xfc, 4);
            const unsigned at = place & 0xff & ~(w - 1);
            const std::uint32_t part = pass_through.config_read(device, at, w);
            require(part == (w == 4 ? whole : whole >> 8 * (at & 3) & ((1U << 8 * w) - 1)),
                    "the same by any width");
            break;
        }
        case 1:
        case 2: {
            const unsigned w = 1U << (place >> 8) % 3;
            const std::uint32_t id = pass_through.config_read(device, 0, 4);
            pass_through.config_write(device, place & 0xff & ~(w - 1), w,
                                      input.take<std::uint32_t>());
            require(pass_through.config_read(device, 0, 4) == id, "who it is cannot be changed");
            break;
        }
        case 3: (void)pass_through.touch(gpa); break;
        case 4:
            (void)pass_through.read(gpa, width);
            (void)pass_through.port_read(static_cast<std::uint16_t>(now.bar[5] + place % 300),
                                         1U << place % 3);
            break;
        case 5:
            pass_through.write(gpa, width, input.take<std::uint64_t>());
            pass_through.port_write(static_cast<std::uint16_t>(now.bar[5] + place % 300),
                                    1U << place % 3, 0);
            break;
        case 6:
            if ((kind & 8) != 0)
                pass_through.line_completed(place % max_guest_functions);
            else
                pass_through.arrive(
                    std::uint64_t{1} << place % (max_guest_messages + max_guest_functions) | place);
            break;
        case 7:
            if ((kind & 8) != 0) {
                std::memcpy(hands.grant, hands.wanted, sizeof(hands.grant));
            } else {
                hands.sets_up = true;
                (void)pass_through.settle(place & 3);
                hands.sets_up = false;
            }
            break;
        }
        // What is mapped is a part of what the state says.
        for (unsigned i = 0; i < f.parts; ++i) {
            if (hands.mapped[i] == nowhere) continue;
            const FunctionPart& p = f.part[i];
            const vmm::PciFunction function{
                f.function[p.function], p.function, {state, transaction}};
            require(function.memory_bar(p.bar) + p.offset == hands.mapped[i],
                    "what is mapped lies where the guest has put it");
        }
    }
    return 0;
}
