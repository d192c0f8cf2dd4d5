// Functions that the guest drives: what it finds of them, what is mapped when, and what reaches the real ones.
#include "servers/vmm/devices/pass_through.hpp"

#include "proto/exit.hpp"
#include "proto/vm_control.hpp"
#include "servers/vmm/board.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <string>

namespace margay::vmm {
namespace {

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
    void want(unsigned function, std::uint64_t word) override {
        if (wanted[function] != word) ++signals;
        wanted[function] = word;
    }
    std::uint64_t granted(unsigned function) override { return grant[function]; }
    std::optional<MsixTable::Message> message(unsigned number) override {
        if (number == refused) return {};
        return MsixTable::Message{0x1'fee0'1000ULL + 0x100ULL * number, 0x4000 + number};
    }

    std::uint32_t word(unsigned part, std::uint64_t offset) {
        std::uint32_t value = 0;
        for (unsigned i = 0; i < 4; ++i)
            value |= std::uint32_t{byte[{part, offset + i}]} << (8 * i);
        return value;
    }

    std::map<unsigned, std::uint64_t> mapped;
    std::map<std::pair<unsigned, std::uint64_t>, std::uint8_t> byte;
    std::vector<std::string> log;
    std::uint64_t wanted[max_guest_functions] = {}, grant[max_guest_functions] = {};
    unsigned maps = 0, signals = 0, refused = ~0U;
    std::size_t unmaps = 0;

  private:
    void check(unsigned part, std::uint64_t offset, unsigned width) const {
        EXPECT_NE(functions_.part[part].is_trapped, 0);
        EXPECT_EQ(offset % width, 0U);
        EXPECT_LE(offset + width, functions_.part[part].size);
    }

    const GuestFunctions& functions_;
};

/// Two functions: a disk with a wide BAR 0 of 16 KiB, whose third page has the MSI-X table and whose fourth the pending
/// bits, and a network adapter with BAR 1 of 8 KiB and a table of 100 entries in BAR 3.
struct Machine : GuestFunctions {
    Machine() : GuestFunctions{} {
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
constexpr unsigned disk_registers = 0, disk_table = 1, net_registers = 2, net_table = 3;
constexpr unsigned disk = 2, net = 3;  // devices of the bus
constexpr std::uint64_t ones = ~std::uint64_t{0};

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
        enable_messages(disk, 0xc000'2000);
        enable_messages(net, 0xd010'0000);
    }
    void enable_messages(unsigned device, std::uint64_t) { config_write(device, 0x42, 0x8000, 2); }
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

    Machine functions;
    FakeHands hands{functions};
    test::FakeClock clock;
    test::FakeSink sink;
    test::FakeControl control;
    test::FakeMemory memory;
    test::OwnBoardState own{memory};
    std::unique_ptr<Board> board;
};

TEST_F(PassThroughTest, they_are_on_the_bus) {
    EXPECT_EQ(config_read(0, 0), 0x0008'1b36U) << "the bridge";
    EXPECT_EQ(config_read(1, 0), 0xffff'ffffU);
    EXPECT_EQ(config_read(disk, 0), 0x0010'1b36U);
    EXPECT_EQ(config_read(disk, 2, 2), 0x0010U);
    EXPECT_EQ(config_read(net, 0), 0x10d3'8086U);
    EXPECT_EQ(config_read(net, 1, 1), 0x80U);
    EXPECT_EQ(config_read(4, 0), 0xffff'ffffU);
    EXPECT_EQ(config_read(31, 0, 2), 0xffffU);
    for (const std::uint32_t elsewhere : {0x8000'1100U, 0x8001'1000U, 0x0000'1000U}) {
        board->port_write(0xcf8, 4, elsewhere);
        EXPECT_EQ(board->port_read(0xcfc, 4), 0xffff'ffffU);
        board->port_write(0xcfc, 4, 0);
    }
    config_write(4, 4, 0xffff'ffff);
    EXPECT_EQ(config_read(disk, 4, 2), 0U);
    EXPECT_EQ(config_read(disk, 0x42, 2), 7U);
    EXPECT_EQ(config_read(net, 0x42, 2), 39U) << "what is given of its 100";
}

TEST_F(PassThroughTest, a_vm_without_functions_has_none) {
    board = std::make_unique<Board>(own.parts(clock, sink, control, memory));
    EXPECT_EQ(config_read(disk, 0), 0xffff'ffffU);
    config_write(disk, 4, 7, 2);
    EXPECT_FALSE(touch(0xc000'0000));
    EXPECT_EQ(read(0xc000'0000, 4), 0xffff'ffffU);
    write(0xc000'0000, 4, 1);
    EXPECT_TRUE(board->settle_function(0));
    board->functions_granted();
    board->function_messages(~std::uint64_t{0});
    EXPECT_FALSE(board->has_functions());
    EXPECT_EQ(board->unclaimed_mmio(), 2U);
}

TEST_F(PassThroughTest, sizing_maps_nothing) {
    for (const unsigned reg : {0x10U, 0x14U}) config_write(disk, reg, ~0U);
    EXPECT_EQ(config_read(disk, 0x10), 0xffff'c004U);
    EXPECT_EQ(config_read(disk, 0x14), 0xffff'ffffU);
    EXPECT_FALSE(touch(0xffff'c000));
    EXPECT_EQ(hands.maps, 0U);
    EXPECT_EQ(hands.unmaps, 0U);
}

TEST_F(PassThroughTest, a_part_is_mapped_when_it_is_touched) {
    config_write(disk, 0x10, 0xc000'0000);
    EXPECT_FALSE(touch(0xc000'0000)) << "it does not decode";
    config_write(disk, 4, 2, 2);
    EXPECT_TRUE(hands.mapped.empty());
    EXPECT_TRUE(touch(0xc000'1ffc));
    EXPECT_EQ(hands.mapped, (std::map<unsigned, std::uint64_t>{{disk_registers, 0xc000'0000}}));
    EXPECT_TRUE(touch(0xc000'0000)) << "another vCPU was faster";
    EXPECT_FALSE(touch(0xc000'2000)) << "a page that is emulated";
    EXPECT_FALSE(touch(0xc000'4000));
    EXPECT_FALSE(touch(0xbfff'ffff));
    EXPECT_EQ(hands.mapped.size(), 1U);
}

TEST_F(PassThroughTest, no_code_and_no_page_tables) {
    place();
    EXPECT_FALSE(touch(0xc000'0000, mmio_access::fetch));
    EXPECT_FALSE(touch(0xc000'0000, mmio_access::page_walk));
    EXPECT_EQ(hands.maps, 0U);
}

// While an exit is not committed the old mapping is gone already and the new one not there yet.
TEST_F(PassThroughTest, what_moves_is_unmapped_first) {
    place();
    ASSERT_TRUE(touch(0xc000'0000));
    ASSERT_TRUE(touch(0xd000'0000));
    config_write(disk, 0x10, 0xc100'0000);
    EXPECT_EQ(hands.mapped, (std::map<unsigned, std::uint64_t>{{net_registers, 0xd000'0000}}));
    EXPECT_FALSE(touch(0xc000'0000));
    EXPECT_TRUE(touch(0xc100'0000));
    EXPECT_EQ(hands.mapped.at(disk_registers), 0xc100'0000U);
    hands.unmaps = 0;
    config_write(disk, 0x10, 0xc100'0000);
    config_write(disk, 0x04, 0x0146, 2);
    config_write(disk, 0x3c, 5, 1);
    EXPECT_EQ(hands.unmaps, 0U) << "nothing moved";
    config_write(disk, 0x04, 0, 2);
    EXPECT_EQ(hands.unmaps, 1U);
    EXPECT_FALSE(touch(0xc100'0000));
    config_write(disk, 0x04, 2, 2);
    EXPECT_TRUE(touch(0xc100'0000));
    config_write(disk, 0x64, 3, 1);
    EXPECT_FALSE(hands.mapped.contains(disk_registers)) << "asleep";
    EXPECT_FALSE(touch(0xc100'0000));
    config_write(disk, 0x64, 0, 1);
    EXPECT_TRUE(touch(0xc100'0000));
}

TEST_F(PassThroughTest, a_move_that_is_undone) {
    place();
    ASSERT_TRUE(touch(0xc000'0000));
    config_write(disk, 0x10, 0xc100'0000);
    roll_back();
    EXPECT_EQ(config_read(disk, 0x10), 0xc000'0004U);
    EXPECT_FALSE(touch(0xc100'0000));
    EXPECT_TRUE(touch(0xc000'0000)) << "mapped anew";
}

TEST_F(PassThroughTest, bars_over_each_other) {
    place(0xc000'0000, 0xc000'0000);
    EXPECT_TRUE(touch(0xc000'0000));
    EXPECT_EQ(hands.mapped.size(), 1U);
    config_write(net, 0x14, 0xc000'2000);
    // Over the other one's table, which is emulated: the one that can be mapped is.
    EXPECT_TRUE(touch(0xc000'2000));
    EXPECT_EQ(hands.mapped.at(net_registers), 0xc000'2000U);
    config_write(disk, 0x10, 0xc000'4000);
    config_write(net, 0x14, 0xc000'4000);
    ASSERT_TRUE(touch(0xc000'4000));
    EXPECT_TRUE(hands.mapped.contains(disk_registers)) << "the first one";
    EXPECT_TRUE(hands.map(disk_registers, 0xc000'4000, 0xc000'4ff8));
    config_write(disk, 0x04, 0, 2);
    hands.mapped[disk_registers] = 0xc000'5000;  // somebody is there
    EXPECT_FALSE(touch(0xc000'4000));
    EXPECT_EQ(read(0xc000'4000, 4), 0xffff'ffffU) << "nothing is there";
    write(0xc000'4000, 4, 1);
    EXPECT_TRUE(hands.log.empty());
}

TEST_F(PassThroughTest, only_in_the_window) {
    for (const std::uint32_t at :
         {0U, 0x1000'0000U, 0xbfff'c000U, 0xfec0'0000U, 0xfee0'0000U, 0xfebf'e000U & ~0x3fffU}) {
        place(at);
        const bool is_inside = at >= 0xc000'0000 && at < 0xfec0'0000;
        EXPECT_EQ(touch(at), is_inside) << std::hex << at;
        EXPECT_EQ(hands.mapped.contains(disk_registers), is_inside);
    }
    place();
    config_write(disk, 0x14, 1);
    EXPECT_FALSE(touch(0xc000'0000)) << "it is above 4 GiB";
    EXPECT_FALSE(touch(0x1'c000'0000));
    // A BAR that begins in it and does not end there.
    functions.function[0].bar_size[0] = 0x4000'0000;
    functions.part[disk_registers].size = 0x2000'0000;
    start();
    config_write(disk, 0x14, 0);
    config_write(disk, 0x10, 0xc000'0000);
    EXPECT_FALSE(touch(0xc000'0000));
}

TEST_F(PassThroughTest, the_local_apic_comes_first) {
    place();
    const std::uint64_t base = 0xc000'0000 | 0x900;
    ASSERT_EQ(board->msr_write(0x1b, base), MsrResult::done);
    EXPECT_FALSE(touch(0xc000'0030));
    EXPECT_NE(read(0xc000'0030, 4), 0xffff'ffffU);
}

TEST_F(PassThroughTest, the_table_is_the_guests_own) {
    place();
    const std::uint64_t table = 0xc000'2000;
    EXPECT_EQ(read(table + 8, 8), 1ULL << 32);
    write(table + 16, 8, 0xfee0'1003);
    write(table + 24, 4, 0x41);
    EXPECT_EQ(read(table + 16, 4), 0xfee0'1000U);
    EXPECT_EQ(read(table + 17, 2), 0xe010U) << "at any alignment";
    EXPECT_EQ(read(table + 20, 8), 0x41ULL << 32) << "two registers";
    write(table + 19, 8, 0x55'0000'0000'00ff);
    EXPECT_EQ(read(table + 16, 8), 0xffe0'1000U);
    EXPECT_EQ(read(table + 24, 4), 0x5500U);
    EXPECT_EQ(read(0xc000'3000, 8), 0U);
    write(0xc000'3000, 8, ones);
    EXPECT_EQ(read(0xc000'3000, 8), 0U) << "the guest only reads it";
    EXPECT_TRUE(hands.log.empty()) << "nothing of it reaches the function";
}

// The real table has more entries than the guest was given: none of them is the guest's.
TEST_F(PassThroughTest, nobody_writes_the_rest_of_the_real_table) {
    place();
    for (std::uint64_t at = 40 * 16; at < 100 * 16; at += 8) {
        write(0xd010'0000 + at, 8, ones);
        EXPECT_EQ(read(0xd010'0000 + at, 8), 0U);
    }
    for (std::uint64_t at = 0x800; at < 0x810; at += 8) write(0xd010'0000 + at, 8, ones);
    EXPECT_TRUE(hands.log.empty());
    functions.function[1].messages = 0;
    start();
    for (std::uint64_t at = 0; at < 100 * 16; at += 4) write(0xd010'0000 + at, 4, ~0U);
    EXPECT_TRUE(hands.log.empty());
    EXPECT_EQ(config_read(net, 0x34, 1), 0x60U) << "it shows no messages then";
}

TEST_F(PassThroughTest, other_registers_of_its_pages) {
    place();
    write(0xc000'2080, 4, 0x1234'5678);
    EXPECT_EQ(read(0xc000'2080, 4), 0x1234'5678U);
    EXPECT_EQ(read(0xc000'2082, 1), 0x34U);
    write(0xc000'3010, 8, 0x1122'3344'5566'7788);
    EXPECT_EQ(read(0xc000'3010, 8), 0x1122'3344'5566'7788U);
    EXPECT_EQ(hands.log,
              (std::vector<std::string>{"w128/4", "r128/4", "r130/1", "w4112/8", "r4112/8"}));
    hands.log.clear();
    EXPECT_EQ(read(0xc000'3011, 4), 0x4455'6677U);
    EXPECT_EQ(hands.log, (std::vector<std::string>{"r4113/1", "r4114/2", "r4116/1"}));
    hands.log.clear();
    write(0xc000'207c, 8, 0x9abc'def0'0000'0001);  // the last entry's mask, and a register
    EXPECT_EQ(hands.log, (std::vector<std::string>{"w128/4"}));
    EXPECT_EQ(read(0xc000'2080, 4), 0x9abc'def0U);
}

TEST_F(PassThroughTest, messages_reach_the_guest) {
    board->local_apic().mmio_write(0xf0, 4, 0x1ff);
    place();
    open_entry(0xc000'2000, 3, 0x41);
    open_entry(0xd010'0000, 39, 0x52);
    arrive(3);
    EXPECT_EQ(takes(), 0x41);
    arrive(47);
    EXPECT_EQ(takes(), 0x52);
    arrive(4);
    EXPECT_EQ(takes(), std::nullopt) << "its entry is masked";
    EXPECT_EQ(read(0xc000'3000, 8), 1U << 4);
    open_entry(0xc000'2000, 4, 0x61);
    EXPECT_EQ(takes(), 0x61) << "it was pending";
    EXPECT_EQ(read(0xc000'3000, 8), 0U);
    arrive(7);
    config_write(disk, 0x42, 0xc000, 2);
    open_entry(0xc000'2000, 7, 0x71);
    EXPECT_EQ(takes(), std::nullopt) << "all are masked";
    arrive(3);
    config_write(disk, 0x42, 0x8000, 2);
    EXPECT_EQ(takes(), 0x71);
    EXPECT_EQ(takes(), 0x41);
    config_write(disk, 0x42, 0, 2);
    arrive(3);
    EXPECT_EQ(takes(), std::nullopt) << "they are off";
}

TEST_F(PassThroughTest, a_message_that_is_undone_comes_again) {
    board->local_apic().mmio_write(0xf0, 4, 0x1ff);
    place();
    arrive(2);
    EXPECT_EQ(own.state.msix_table.live.pending, 1U << 2);
    roll_back();
    EXPECT_EQ(own.state.msix_table.live.pending, 0U);
    board->function_messages(1U << 2);
    EXPECT_EQ(own.state.msix_table.live.pending, 1U << 2);
}

TEST_F(PassThroughTest, messages_that_are_none) {
    board->local_apic().mmio_write(0xf0, 4, 0x1ff);
    place();
    const auto send = [&](std::uint64_t address, std::uint32_t data) {
        write(0xc000'2000, 8, address);
        write(0xc000'2008, 8, data);
        arrive(0);
        return takes();
    };
    EXPECT_EQ(send(0xfee0'0000, 0x31), 0x31);
    EXPECT_EQ(send(0xfee0'1000, 0x31), std::nullopt) << "to another processor";
    EXPECT_EQ(send(0xfeef'f000, 0x31), 0x31) << "to all";
    for (const std::uint64_t elsewhere : {0ULL, 0xfec0'0000ULL, 0x1'fee0'0000ULL, ~3ULL})
        EXPECT_EQ(send(elsewhere, 0x31), std::nullopt);
    for (const std::uint32_t mode : {2U, 3U, 6U, 7U})
        EXPECT_EQ(send(0xfee0'0000, mode << 8 | 0x31), std::nullopt) << mode;
    EXPECT_EQ(send(0xfee0'0000, 1 << 8 | 0x31), 0x31) << "lowest priority";
    EXPECT_EQ(send(0xfeef'f008, 0x31), 0x31) << "the redirection hint";
    EXPECT_EQ(send(0xfee0'0000, 0x05), std::nullopt) << "no vector";
    EXPECT_FALSE(board->has_nmi());
    EXPECT_EQ(send(0xfee0'0000, 4 << 8), std::nullopt);
    EXPECT_TRUE(board->nmi_to_inject());
    next_exit();
    board->function_messages(~std::uint64_t{0});
    EXPECT_LE(own.state.msix_table.live.pending >> max_guest_messages, 0U);
}

TEST_F(PassThroughTest, the_real_table_has_the_nodes_messages) {
    for (unsigned i = 0; i < 8; ++i) {
        const std::uint64_t at = 16 * i;
        EXPECT_EQ(hands.word(disk_table, at), 0xfee0'1000U + 0x100 * i);
        EXPECT_EQ(hands.word(disk_table, at + 4), 1U);
        EXPECT_EQ(hands.word(disk_table, at + 8), 0x4000U + i);
        EXPECT_EQ(hands.word(disk_table, at + 12), 0U) << "never masked";
    }
    EXPECT_EQ(hands.word(net_table, 16 * 39 + 8), 0x4000U + 47);
    EXPECT_EQ(hands.word(net_table, 16 * 40 + 8), 0U) << "not given";
    const auto before = hands.byte;
    start();
    EXPECT_EQ(hands.byte, before);
    hands.refused = 3;
    hands.byte.clear();
    start();
    EXPECT_EQ(hands.word(disk_table, 3 * 16 + 8), 0U);
    EXPECT_EQ(hands.word(disk_table, 4 * 16 + 8), 0x4004U);
}

TEST_F(PassThroughTest, what_is_set_up_is_left_alone) {
    hands.write(disk_table, 0, 4, 0xffff'ffff);
    hands.log.clear();
    board = nullptr;
    Board::Parts parts = own.parts(clock, sink, control, memory);
    parts.functions = &functions;
    parts.hands = &hands;
    board = std::make_unique<Board>(parts);
    board->open_functions();
    const auto writes = std::ranges::count_if(hands.log, [](const auto& l) { return l[0] == 'w'; });
    EXPECT_EQ(writes, 5) << "one entry: masked, three words, and open";
}

TEST_F(PassThroughTest, bus_mastering_is_waited_for) {
    place();
    EXPECT_TRUE(control.awaited.empty());
    config_write(disk, 4, 6, 2);
    EXPECT_EQ(control.awaited, std::vector<unsigned>{0});
    EXPECT_EQ(hands.wanted[0], 0U) << "not before that exit is committed";
    next_exit();
    EXPECT_FALSE(board->settle_function(0));
    EXPECT_EQ(hands.wanted[0], function_wish::bus_master);
    EXPECT_EQ(hands.signals, 1U);
    EXPECT_FALSE(board->settle_function(0));
    EXPECT_EQ(hands.signals, 1U);
    EXPECT_TRUE(board->settle_function(1)) << "of another one";
    EXPECT_TRUE(touch(0xc000'0000)) << "it answers meanwhile";
    hands.grant[0] = function_wish::bus_master;
    EXPECT_TRUE(board->settle_function(0));
    EXPECT_TRUE(hands.log.empty()) << "its table needs nothing";
    config_write(disk, 4, 6, 2);
    EXPECT_EQ(control.awaited.size(), 1U) << "nothing changed";
    config_write(disk, 0x64, 3, 1);
    EXPECT_EQ(control.awaited.size(), 2U) << "asleep it masters nothing";
    next_exit();
    EXPECT_FALSE(board->settle_function(0));
    EXPECT_EQ(hands.wanted[0], 0U);
    EXPECT_TRUE(board->settle_function(7)) << "none";
}

TEST_F(PassThroughTest, a_wish_that_is_undone_was_never_told) {
    place();
    config_write(disk, 4, 6, 2);
    roll_back();
    EXPECT_EQ(hands.signals, 0U);
    EXPECT_EQ(hands.wanted[0], 0U);
    // The exit again, and its end.
    board->port_write(0xcfc, 2, 6);
    EXPECT_EQ(control.awaited, std::vector<unsigned>{0});
    next_exit();
    EXPECT_FALSE(board->settle_function(0));
    start();
    EXPECT_EQ(hands.signals, 1U) << "the successor wants the same";
    EXPECT_EQ(hands.wanted[0], function_wish::bus_master);
}

TEST_F(PassThroughTest, a_successor_wants_what_was_committed) {
    place();
    config_write(disk, 4, 6, 2);
    next_exit();
    start();
    EXPECT_EQ(hands.wanted[0], function_wish::bus_master);
    EXPECT_EQ(hands.wanted[1], 0U);
}

TEST_F(PassThroughTest, the_guest_resets_its_function) {
    board->local_apic().mmio_write(0xf0, 4, 0x1ff);
    place();
    config_write(disk, 4, 6, 2);
    next_exit();
    hands.grant[0] = function_wish::bus_master;
    ASSERT_TRUE(board->settle_function(0));
    ASSERT_TRUE(touch(0xc000'0000));
    open_entry(0xc000'2000, 1, 0x41);
    arrive(5);
    arrive(20);
    control.awaited.clear();

    config_write(disk, 0x88, 0x8000, 2);
    EXPECT_EQ(control.awaited, std::vector<unsigned>{0});
    EXPECT_TRUE(hands.mapped.empty());
    EXPECT_EQ(config_read(disk, 0x10), 4U);
    EXPECT_EQ(config_read(disk, 4, 2), 0U);
    EXPECT_EQ(own.state.msix_table.live.entry[1].control, 1U);
    EXPECT_EQ(own.state.msix_table.live.pending, 1U << 20) << "the other's stays";
    next_exit();
    EXPECT_FALSE(board->settle_function(0));
    EXPECT_EQ(hands.wanted[0], 1U << function_wish::resets_shift);

    // Another vCPU goes on with it: meanwhile it answers nobody.
    config_write(disk, 0x10, 0xc000'0000);
    config_write(disk, 4, 2, 2);
    EXPECT_FALSE(touch(0xc000'0000));
    EXPECT_EQ(read(0xc000'0000, 4), 0xffff'ffffU);
    EXPECT_EQ(read(0xc000'2080, 4), 0xffff'ffffU);
    write(0xc000'2080, 4, 1);
    EXPECT_TRUE(hands.log.empty());

    hands.byte.clear();
    for (unsigned i = 0; i < 8; ++i) hands.byte[{disk_table, 16 * i + 12}] = 1;
    hands.grant[0] = 1U << function_wish::resets_shift;
    EXPECT_TRUE(board->settle_function(0));
    EXPECT_EQ(hands.word(disk_table, 8), 0x4000U) << "its table is written anew";
    EXPECT_EQ(hands.word(disk_table, 12), 0U);
    EXPECT_TRUE(touch(0xc000'0000));
    EXPECT_EQ(config_read(disk, 0x42, 2), 7U) << "off for the guest";
}

TEST_F(PassThroughTest, a_reset_that_is_undone_and_done_again_is_one) {
    place();
    config_write(disk, 0x88, 0x8000, 2);
    roll_back();
    EXPECT_EQ(hands.wanted[0], 0U);
    EXPECT_EQ(config_read(disk, 4, 2), 2U);
    config_write(disk, 0x88, 0x8000, 2);
    next_exit();
    EXPECT_FALSE(board->settle_function(0));
    EXPECT_EQ(hands.wanted[0], 1U << function_wish::resets_shift);
}

TEST_F(PassThroughTest, whoever_waits_is_woken) {
    CpuState second{};
    Board::reset(second, own.state.config.live, 1);
    own.cpus.count = 2;
    own.cpus.state[1] = &second;
    start();
    board->functions_granted();
    EXPECT_TRUE(own.waker.woken.empty());
    second.vcpu.live.waits_for_function = 1;
    board->functions_granted();
    EXPECT_EQ(own.waker.woken, std::vector<unsigned>{1});
    own.cpus.count = 1;
}

// Whatever the guest does: registers of the tables are never written, nothing is mapped out of the window, and what is
// mapped is where the state says.
TEST_F(PassThroughTest, anything) {
    std::mt19937 random{1};
    const auto some = [&](std::uint32_t most) {
        return static_cast<std::uint32_t>(random() % most);
    };
    place();
    for (unsigned n = 0; n < 20'000; ++n) {
        const unsigned i = some(2), width = 1U << some(4);
        const std::uint64_t at = 0xc000'0000 + 0x1000'0000ULL * some(5) + some(0x5000);
        switch (some(6)) {
        case 0: {
            constexpr unsigned registers[] = {0x04, 0x10, 0x14, 0x1c, 0x42, 0x64, 0x88, 0x89};
            const unsigned reg = registers[some(8)];
            config_write(2 + i, reg, reg >= 0x10 && reg < 0x28 ? some(5) << 28 : random(),
                         reg % 2 != 0 ? 1 : 2);
            break;
        }
        case 1:
            config_write(2 + i, i == 0 ? 0x10 : 0x14, 0xc000'0000 + (some(4) << 28), 4);
            config_write(2 + i, 4, 2, 2);
            break;
        case 2: (void)touch(at); break;
        case 3: write(at, width, random()); break;
        case 4: (void)read(at, width); break;
        default:
            board->function_messages(std::uint64_t{random()} << some(33));
            for (unsigned f = 0; f < 2; ++f) {
                (void)board->settle_function(f);
                hands.grant[f] = hands.wanted[f];
            }
            break;
        }
        for (const auto& [part, gpa] : hands.mapped) {
            const FunctionPart& p = functions.part[part];
            const PciFunction f{functions.function[p.function],
                                p.function,
                                {own.state.pci_functions, own.transaction}};
            ASSERT_EQ(f.memory_bar(p.bar) + p.offset, gpa);
            ASSERT_GE(gpa, function_window);
            ASSERT_LE(gpa + p.size, function_window + function_window_bytes);
        }
        hands.log.clear();
    }
    for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(hands.word(disk_table, 16 * i + 8), 0x4000U + i);
}

}  // namespace
}  // namespace margay::vmm
