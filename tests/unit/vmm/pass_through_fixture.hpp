// Two functions that a guest drives, on a board whose machine is the test's.
#pragma once
#include "servers/vmm/devices/pass_through.hpp"

#include "proto/exit.hpp"
#include "proto/vm_control.hpp"
#include "servers/vmm/board.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace margay::vmm::test {

/// The machine's side. A part cannot be mapped where another one is.
class FakeHands final : public FunctionHands {
  public:
    explicit FakeHands(const GuestFunctions& functions) : functions_{functions} {}

    bool map(unsigned part, std::uint64_t gpa, std::uint64_t touched) override {
        ++maps;
        EXPECT_LT(touched - gpa, functions_.part[part].size);
        EXPECT_EQ(functions_.part[part].is_trapped, 0);
        EXPECT_EQ(gpa % page_size, 0U);
        const std::uint64_t size = functions_.part[part].size;
        for (const auto& [other, at] : mapped)
            if (other != part && gpa < at + functions_.part[other].size && at < gpa + size)
                return false;
        EXPECT_TRUE(!mapped.contains(part) || mapped[part] == gpa) << "it was not taken away";
        mapped[part] = gpa;
        return true;
    }
    void unmap(unsigned part) override { unmaps += mapped.erase(part); }
    std::uint64_t read(unsigned part, std::uint64_t offset, unsigned width) override {
        check(part, offset, width);
        std::uint64_t value = 0;
        for (unsigned i = 0; i < width; ++i)
            value |= std::uint64_t{byte[{part, offset + i}]} << (8 * i);
        log.push_back("r" + std::to_string(offset) + "/" + std::to_string(width));
        return value;
    }
    void write(unsigned part, std::uint64_t offset, unsigned width, std::uint64_t value) override {
        check(part, offset, width);
        for (unsigned i = 0; i < width; ++i)
            byte[{part, offset + i}] = static_cast<std::uint8_t>(value >> (8 * i));
        log.push_back("w" + std::to_string(offset) + "/" + std::to_string(width));
    }
    std::uint32_t port_read(unsigned part, std::uint64_t offset, unsigned width) override {
        check_ports(part, offset, width);
        log.push_back("in" + std::to_string(offset) + "/" + std::to_string(width));
        return 0xa5a5'a5a5;
    }
    void port_write(unsigned part, std::uint64_t offset, unsigned width,
                    std::uint32_t value) override {
        check_ports(part, offset, width);
        log.push_back("out" + std::to_string(offset) + "/" + std::to_string(width) + "=" +
                      std::to_string(value));
    }
    void acknowledge(unsigned line) override { acknowledged.push_back(line); }
    void want(unsigned function, std::uint64_t word) override {
        if (wanted[function] != word) ++signals;
        wanted[function] = word;
    }
    std::uint64_t granted(unsigned function) override { return grant[function]; }
    std::optional<InterruptMessage> message(unsigned number) override {
        if (number == refused) return {};
        return InterruptMessage{0x1'fee0'1000ULL + 0x100ULL * number, 0x4000 + number};
    }
    void direct(unsigned number, unsigned cpu) override {
        EXPECT_LT(number, max_guest_messages);
        directed[number] = cpu;
    }

    std::uint32_t word(unsigned part, std::uint64_t offset) {
        std::uint32_t value = 0;
        for (unsigned i = 0; i < 4; ++i)
            value |= std::uint32_t{byte[{part, offset + i}]} << (8 * i);
        return value;
    }

    std::map<unsigned, std::uint64_t> mapped;
    std::map<unsigned, unsigned> directed;  // messages, to vCPUs
    std::map<std::pair<unsigned, std::uint64_t>, std::uint8_t> byte;
    std::vector<std::string> log;
    std::vector<unsigned> acknowledged;
    std::uint64_t wanted[max_guest_functions] = {}, grant[max_guest_functions] = {};
    unsigned maps = 0, signals = 0, refused = ~0U;
    std::size_t unmaps = 0;

  private:
    void check_ports(unsigned part, std::uint64_t offset, unsigned width) const {
        EXPECT_NE(functions_.part[part].is_ports, 0);
        EXPECT_LE(offset + width, functions_.part[part].size);
    }
    void check(unsigned part, std::uint64_t offset, unsigned width) const {
        EXPECT_NE(functions_.part[part].is_trapped, 0);
        EXPECT_EQ(offset % width, 0U);
        EXPECT_LE(offset + width, functions_.part[part].size);
    }

    const GuestFunctions& functions_;
};

/// Two functions: a disk with a wide BAR 0 of 16 KiB, whose third page has the MSI-X table and whose fourth the pending
/// bits, and a network adapter with BAR 1 of 8 KiB and a table of 100 entries in BAR 3.
struct TwoFunctions : GuestFunctions {
    TwoFunctions() : GuestFunctions{} {
        count = 2;
        GuestFunction& disk = function[0];
        describe(disk, 0x0010'1b36, 0x2000, 0x3000);
        disk.config[0x42] = 7;  // 8 entries
        disk.bar_size[0] = 0x4000, disk.bar_flags[0] = 4;
        disk.messages = 8, disk.first_message = 0;
        disk.table_offset = 0x2000, disk.pending_offset = 0x3000;
        add(0, 0, 0, 0x2000, false);
        add(0, 0, 0x2000, 0x2000, true);
        GuestFunction& net = function[1];
        describe(net, 0x10d3'8086, 3, 0x803);
        net.config[0x42] = 99;  // 100 entries
        net.bar_size[1] = 0x2000, net.bar_size[3] = 0x1000;
        net.messages = 40, net.first_message = 8;
        net.table_bar = net.pending_bar = 3;
        net.table_offset = 0, net.pending_offset = 0x800;
        add(1, 1, 0, 0x2000, false);
        add(1, 3, 0, 0x1000, true);
    }
    static void put(GuestFunction& f, unsigned at, std::uint32_t value) {
        for (unsigned i = 0; i < 4; ++i)
            f.config[at + i] = static_cast<std::uint8_t>(value >> 8 * i);
    }
    static void describe(GuestFunction& f, std::uint32_t id, std::uint32_t table,
                         std::uint32_t pending) {
        put(f, 0, id);
        put(f, 0x04, 0x0010'0000);
        f.config[0x34] = 0x40;
        f.config[0x40] = 0x11, f.config[0x41] = 0x60;
        put(f, 0x44, table);
        put(f, 0x48, pending);
        f.config[0x60] = 0x01, f.config[0x61] = 0x80;  // power management
        f.config[0x80] = 0x10;                         // PCI Express
    }
    void add(std::uint8_t of, std::uint8_t bar, std::uint64_t offset, std::uint64_t size,
             bool is_trapped) {
        FunctionPart& p = part[parts];
        p.function = of, p.bar = bar, p.offset = offset, p.size = size;
        p.is_trapped = is_trapped ? 1 : 0;
        p.memory = static_cast<std::uint8_t>(parts++);
    }
};
inline constexpr unsigned disk_registers = 0, disk_table = 1, net_registers = 2, net_table = 3;
inline constexpr unsigned disk = 2, net = 3;  // devices of the bus
inline constexpr std::uint64_t ones = ~std::uint64_t{0};
// Wanted of a function whose guest has turned MSI-X on.
inline constexpr std::uint64_t by_msix = std::uint64_t{2} << function_wish::interrupts_shift;

class PassThroughTest : public ::testing::Test {
  protected:
    PassThroughTest() {
        own.reset({2'000'000, 1'700'000'000, 0, 40, 0, 0, 1, 0}, test::generous_cpuid);
        start();
    }
    // As a VMM that takes over.
    void start() {
        Board::Parts parts = own.parts(clock, sink, control, memory);
        parts.functions = &functions;
        parts.hands = &hands;
        board = std::make_unique<Board>(parts);
        board->open_functions();
        hands.log.clear();
    }
    void next_exit() { own.transaction.begin(own.transaction.number() + 1); }
    // What a successor does with the exit that was being handled.
    void roll_back() {
        undo(own.state.pci_functions);
        undo(own.state.msix_table);
        undo(own.state.pci_host);
        undo(own.state.io_apic);
        control.awaited.clear();
        hands.mapped.clear();  // they went with the VMM
        start();
    }
    template <typename T>
    void undo(StateSlot<T>& slot) {
        if (slot.saved_in == own.transaction.number()) slot.live = slot.saved;
        slot.saved_in = 0;
    }

    std::uint32_t config_read(unsigned device, unsigned reg, unsigned width = 4) {
        board->port_write(0xcf8, 4, 0x8000'0000 | device << 11 | (reg & ~3U));
        return board->port_read(static_cast<std::uint16_t>(0xcfc + reg % 4), width);
    }
    void config_write(unsigned device, unsigned reg, std::uint32_t value, unsigned width = 4) {
        board->port_write(0xcf8, 4, 0x8000'0000 | device << 11 | (reg & ~3U));
        next_exit();
        board->port_write(static_cast<std::uint16_t>(0xcfc + reg % 4), width, value);
    }
    bool touch(std::uint64_t gpa, std::uint64_t access = mmio_access::write) {
        next_exit();
        return board->may_be_function(gpa) && board->map_function(gpa, access);
    }
    std::uint64_t read(std::uint64_t gpa, unsigned width) {
        next_exit();
        return board->mmio_read(gpa, width);
    }
    void write(std::uint64_t gpa, unsigned width, std::uint64_t value) {
        next_exit();
        board->mmio_write(gpa, width, value);
    }
    // Where both are put, and on.
    void place(std::uint32_t disk_at = 0xc000'0000, std::uint32_t net_at = 0xd000'0000,
               std::uint32_t net_table_at = 0xd010'0000) {
        config_write(disk, 0x10, disk_at);
        config_write(disk, 0x14, 0);
        config_write(net, 0x14, net_at);
        config_write(net, 0x1c, net_table_at);
        config_write(disk, 0x04, 2, 2);
        config_write(net, 0x04, 2, 2);
        for (const unsigned device : {disk, net}) config_write(device, 0x42, 0x8000, 2);
        become();
    }
    // Functions are as they were wanted.
    void become() {
        next_exit();
        board->open_functions();
        std::ranges::copy(hands.wanted, hands.grant);
        board->open_functions();
        control.awaited.clear();
        hands.log.clear();
        hands.signals = 0;
    }
    // Entry `number` of a table: to this processor, and not masked.
    void open_entry(std::uint64_t table, unsigned number, std::uint8_t vector) {
        write(table + 16 * number, 8, 0xfee0'0000);
        write(table + 16 * number + 8, 8, vector);
    }
    std::optional<std::uint8_t> takes() {
        const auto vector = board->interrupt_to_inject();
        if (vector) {
            board->interrupt_taken(*vector);
            board->local_apic().mmio_write(0xb0, 4, 0);
        }
        return vector;
    }
    void arrive(unsigned number) {
        next_exit();
        board->function_messages(1ULL << number);
    }

    TwoFunctions functions;
    FakeHands hands{functions};
    test::FakeClock clock;
    test::FakeSink sink;
    test::FakeControl control;
    test::FakeMemory memory;
    test::OwnBoardState own{memory};
    std::unique_ptr<Board> board;
};

}  // namespace margay::vmm::test
