// A guest's accesses to its devices, in any order.
//
// Input: configuration (1), then operations of {kind (1), address (2 or 4), value (1 to 8)}.
#include "tests/fuzz/input.hpp"

#include "servers/vmm/board.hpp"

#include <cpuid.h>

using namespace margay;
using namespace margay::vmm;
using margay::fuzz::Input;
using margay::fuzz::require;

namespace {

struct Time final : Clock {
    std::uint64_t now_ns() override { return now; }
    std::uint64_t tsc() override { return now * 2 + offset; }
    void adjust_tsc(std::uint64_t delta) override { offset += delta; }
    std::uint64_t now = 1000;
    std::uint64_t offset = 0;
};

struct Sink final : ConsoleSink {
    void put(std::uint8_t byte) override { sum += byte; }
    void input_room() override {}
    unsigned sum = 0;
};

struct Waker final : CpuWaker {
    void wake(unsigned) override {}
};

struct Control final : MachineControl {
    void power_off() override {}
    void reset() override {}
};

struct Ram final : GuestMemory {
    std::span<std::byte> window(std::uint64_t gpa, std::size_t length) override {
        if (gpa > sizeof(bytes) || length > sizeof(bytes) - gpa) {
            return {};
        }
        return {bytes + gpa, length};
    }
    alignas(4096) std::byte bytes[0x10000] = {};
};

CpuidResult host_cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
    return {leaf * 0x1234'5679, subleaf ^ 0xffff'ffff, leaf + subleaf, 0xaaaa'5555};
}

constexpr std::uint64_t local_apic = 0xfee0'0000;
constexpr std::uint64_t io_apic = 0xfec0'0000;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input{data, size};
    static Ram ram;
    std::memset(ram.bytes, 0, sizeof(ram.bytes));
    Time time;
    Sink sink;
    Control control;
    static BoardState state;
    static CpuState cpu[2];
    static GuestWordUndo undo[guest_word_undos];
    Transaction transaction;
    GuestWords words{ram, undo, transaction};
    BoardConfig config{};
    const unsigned choice = input.take<std::uint8_t>();
    config.tsc_khz = 2'000'000;
    config.epoch_s = 1'700'000'000;
    config.apic_id = choice & 3;
    config.physical_bits = 40;
    config.start_in_x2apic = (choice >> 2) & 1;
    // Half of the time there is another vCPU, whose exits nobody handles.
    config.cpus = static_cast<std::uint8_t>(1 + (choice >> 3 & 1));
    Board::reset(state, config, host_cpuid);
    Cpus cpus;
    cpus.count = config.cpus;
    for (unsigned i = 0; i < 2; ++i) {
        Board::reset(cpu[i], config, i);
        cpus.state[i] = &cpu[i];
    }
    std::uint64_t word = 0;
    bool is_locked = false;
    BoardLock lock{config.cpus > 1 ? &word : nullptr, transaction, is_locked};
    Waker waker;
    Board board{{state, cpus, 0, transaction, lock, waker, time, sink, control, ram, words}};

    for (unsigned operations = 0; !input.empty() && operations < 1000; ++operations) {
        const unsigned kind = input.take<std::uint8_t>();
        const unsigned width = 1U << (kind >> 6 & 3);
        switch (kind & 15) {
        case 0: {
            const auto port = input.take<std::uint16_t>();
            const unsigned port_width = width > 4 ? 4 : width;
            const auto value = board.port_read(port, port_width);
            require(port_width == 4 || value >> (8 * port_width) == 0, "a port value's width");
            break;
        }
        case 1: {
            const auto port = input.take<std::uint16_t>();
            const unsigned port_width = width > 4 ? 4 : width;
            const auto value = input.take<std::uint32_t>();
            board.port_write(port, port_width,
                             port_width == 4 ? value : value & ((1U << (8 * port_width)) - 1));
            break;
        }
        case 2:
        case 3: {
            const std::uint64_t base = (kind & 0x20) != 0 ? local_apic : io_apic;
            const std::uint64_t address = base + input.take<std::uint16_t>() % 0x1004;
            if ((kind & 1) == 0) {
                const auto value = board.mmio_read(address, width);
                require(width == 8 || value >> (8 * width) == 0, "an MMIO value's width");
            } else {
                const auto value = input.take<std::uint64_t>();
                board.mmio_write(address, width,
                                 width == 8 ? value : value & ((1ull << (8 * width)) - 1));
            }
            break;
        }
        case 4: {
            std::uint64_t value = 0;
            (void)board.msr_read(input.take<std::uint32_t>(), value);
            break;
        }
        case 5: {
            const auto index = input.take<std::uint32_t>();
            (void)board.msr_write(index, input.take<std::uint64_t>());
            break;
        }
        case 6: {  // x2APIC registers
            const auto index = 0x800U + input.take<std::uint8_t>();
            std::uint64_t value = 0;
            if ((kind & 0x10) != 0) {
                (void)board.msr_read(index, value);
            } else {
                (void)board.msr_write(index, input.take<std::uint64_t>());
            }
            break;
        }
        case 7: time.now += input.take<std::uint32_t>(); break;
        case 8: time.now += std::uint64_t{input.take<std::uint16_t>()} << 24; break;
        case 9:
            time.now = std::max(
                time.now, std::min(board.next_deadline(), time.now + (std::uint64_t{1} << 40)));
            break;
        case 10: {
            const auto vector = board.interrupt_to_inject();
            if (vector && (kind & 0x10) != 0) {
                board.interrupt_taken(*vector);
            }
            break;
        }
        case 11: (void)board.nmi_to_inject(); break;
        case 12: (void)board.console_input(input.take<std::uint8_t>()); break;
        case 13: board.set_irq_line(kind >> 4, (input.take<std::uint8_t>() & 1) != 0); break;
        case 14: board.see_power_presses(input.take<std::uint8_t>()); break;
        default: {
            const auto leaf = input.take<std::uint32_t>();
            (void)board.cpuid(leaf, input.take<std::uint8_t>());
            board.set_task_priority(static_cast<std::uint8_t>(leaf));
            (void)board.task_priority();
            break;
        }
        }
        // As the vCPU's glue does.
        if (board.next_deadline() <= time.now) {
            board.expire(time.now);
            require(board.next_deadline() > time.now, "after expire() deadlines lie ahead");
        }
        if (const auto vector = board.interrupt_to_inject()) {
            require(*vector >= 16 || cpu[0].offer.live.source == OfferState::Source::pic,
                    "the local APIC offers no vector below 16");
        }
    }
    return 0;
}
