#pragma once

#include "servers/vmm/board.hpp"
#include "servers/vmm/cpu/cpuid.hpp"
#include "servers/vmm/devices/apic_bus.hpp"
#include "servers/vmm/devices/clock.hpp"
#include "servers/vmm/devices/console_sink.hpp"
#include "servers/vmm/devices/guest_memory.hpp"
#include "servers/vmm/devices/irq_lines.hpp"
#include "servers/vmm/devices/machine_control.hpp"
#include "servers/vmm/state/guest_words.hpp"
#include "servers/vmm/state/journaled.hpp"

#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

/// Back ends for device models under test: time that the test sets, and records of what devices did.
namespace margay::vmm::test {

class FakeClock final : public Clock {
  public:
    std::uint64_t now_ns() override { return ns; }
    std::uint64_t tsc() override { return ns * tsc_per_ns + tsc_offset; }
    void adjust_tsc(std::uint64_t delta) override { tsc_offset += delta; }

    std::uint64_t ns = 0;
    std::uint64_t tsc_per_ns = 2;
    std::uint64_t tsc_offset = 0;
};

class FakeLines final : public IrqLines {
  public:
    void set_irq_line(unsigned irq, bool asserted) override {
        if (asserted && !level.at(irq)) {
            ++edges.at(irq);
        }
        level.at(irq) = asserted;
    }

    std::array<bool, 16> level{};
    std::array<unsigned, 16> edges{};
};

class FakeSink final : public ConsoleSink {
  public:
    void put(std::uint8_t byte) override { output.push_back(static_cast<char>(byte)); }
    void input_room() override { ++room_calls; }

    std::string output;
    unsigned room_calls = 0;
};

class FakeControl final : public MachineControl {
  public:
    void power_off() override { ++power_offs; }
    void reset() override { ++resets; }
    void await_function(unsigned function) override { awaited.push_back(function); }

    std::vector<unsigned> awaited;
    unsigned power_offs = 0;
    unsigned resets = 0;
};

class FakeMemory final : public GuestMemory {
  public:
    explicit FakeMemory(std::size_t size = 0x10000) : bytes(size) {}

    std::span<std::byte> window(std::uint64_t gpa, std::size_t length) override {
        if (gpa > bytes.size() || length > bytes.size() - gpa) {
            return {};
        }
        return std::span{bytes}.subspan(gpa, length);
    }

    template <typename T>
    T at(std::size_t offset) const {
        T value;
        std::memcpy(&value, bytes.data() + offset, sizeof(T));
        return value;
    }

    std::vector<std::byte> bytes;
};

class FakeBus final : public ApicBus {
  public:
    void deliver(const ApicMessage& message) override { delivered.push_back(message); }
    std::optional<unsigned> recipient(const ApicMessage&) const override { return {}; }
    void broadcast(const ApicMessage& message, std::uint32_t sender, bool include_self) override {
        broadcasts.push_back(message);
        last_sender = sender;
        last_include_self = include_self;
    }
    void end_of_interrupt(std::uint8_t vector) override { completed.push_back(vector); }

    std::vector<ApicMessage> delivered;
    std::vector<ApicMessage> broadcasts;
    std::vector<std::uint8_t> completed;
    std::uint32_t last_sender = 0;
    bool last_include_self = false;
};

/// A slot for one device, in a transaction of its own.
template <typename T>
struct OwnSlot {
    OwnSlot() { transaction.begin(1); }
    Journaled<T> journaled() { return {slot, transaction}; }

    StateSlot<T> slot{};
    Transaction transaction;
};

class FakeWaker final : public CpuWaker {
  public:
    void wake(unsigned cpu) override { woken.push_back(cpu); }

    std::vector<unsigned> woken;
};

/// What the board of a single vCPU needs beside its back ends.
struct OwnBoardState {
    explicit OwnBoardState(GuestMemory& memory) : words{memory, undo, transaction} {
        transaction.begin(1);
        cpus.count = 1;
        cpus.state[0] = &cpu;
    }

    void reset(const BoardConfig& config, HostCpuid host) {
        Board::reset(state, config, host);
        Board::reset(cpu, config, 0);
    }
    Board::Parts parts(Clock& clock, ConsoleSink& console, MachineControl& control,
                       GuestMemory& memory) {
        return {state, cpus, 0, transaction, lock, waker, clock, console, control, memory, words};
    }

    BoardState state{};
    CpuState cpu{};
    Cpus cpus;
    FakeWaker waker;
    GuestWordUndo undo[guest_word_undos] = {};
    Transaction transaction;
    bool is_locked = false;
    BoardLock lock{nullptr, transaction, is_locked};
    GuestWords words;
};

/// An AMD processor with every feature there is.
inline CpuidResult generous_cpuid(std::uint32_t leaf, std::uint32_t) {
    switch (leaf) {
    case 0: return {0x10, 0x6874'7541, 0x444d'4163, 0x6974'6e65};
    case 0x8000'0000: return {0x8000'0021, 0x6874'7541, 0x444d'4163, 0x6974'6e65};
    default: return {~0U, ~0U, ~0U, ~0U};
    }
}

}  // namespace margay::vmm::test
