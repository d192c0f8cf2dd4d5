// The MSI-X tables of functions that the guest drives, and the messages that come of them.
#include "tests/unit/vmm/pass_through_fixture.hpp"

#include <algorithm>

namespace margay::vmm {
namespace {

using namespace test;

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

// The adapter by MSI: four messages, with a mask for each.
struct ByMsi : PassThroughTest {
    ByMsi() {
        GuestFunction& f = functions.function[1];
        f.config[0x81] = 0xc0;
        f.config[0xc0] = 0x05;
        f.config[0xc2] = 0x84, f.config[0xc3] = 0x01;
        f.msi_messages = 4;
        start();
        board->local_apic().mmio_write(0xf0, 4, 0x1ff);
        config_write(net, 0xc4, 0xfee0'0000);
        config_write(net, 0xcc, 0x4043, 2);
    }
    void turn_on(unsigned control) { config_write(net, 0xc2, control, 2); }
};

TEST_F(ByMsi, messages_reach_the_guest) {
    arrive(8);
    EXPECT_EQ(takes(), std::nullopt) << "it is off";
    turn_on(0x0021);
    EXPECT_EQ(takes(), std::nullopt) << "what came before is gone";
    for (unsigned n = 0; n < 4; ++n) {
        arrive(8 + n);
        EXPECT_EQ(takes(), 0x40 + n) << "the low bits say which one";
    }
    arrive(8 + 4);
    EXPECT_EQ(takes(), std::nullopt) << "there are four";
    arrive(7);
    EXPECT_EQ(takes(), std::nullopt) << "it is the disk's";
    turn_on(0x0001);
    arrive(8);
    EXPECT_EQ(takes(), 0x43) << "a single one is as it was written";
    arrive(9);
    EXPECT_EQ(takes(), std::nullopt);
}

TEST_F(ByMsi, masked_ones_wait) {
    turn_on(0x0021);
    config_write(net, 0xd0, ~0U);
    EXPECT_EQ(config_read(net, 0xd0), 15U) << "as many as there are";
    arrive(9);
    arrive(10);
    EXPECT_EQ(takes(), std::nullopt);
    EXPECT_EQ(config_read(net, 0xd4), 6U);
    config_write(net, 0xd4, 0);
    EXPECT_EQ(config_read(net, 0xd4), 6U) << "the guest only reads it";
    roll_back();
    config_write(net, 0xd0, 0xd);
    EXPECT_EQ(takes(), 0x41);
    EXPECT_EQ(config_read(net, 0xd4), 4U);
    roll_back();
    EXPECT_EQ(config_read(net, 0xd4), 6U) << "undone with the exit";
}

// The function is to be as the guest has it, and the vCPU waits for that.
TEST_F(ByMsi, the_real_one_is_switched) {
    control.awaited.clear();
    turn_on(0x0011);
    EXPECT_EQ(control.awaited, std::vector<unsigned>{1});
    EXPECT_FALSE(board->settle_function(1));
    EXPECT_EQ(hands.wanted[1], std::uint64_t{1} << function_wish::interrupts_shift |
                                   std::uint64_t{1} << function_wish::messages_shift);
    hands.grant[1] = hands.wanted[1];
    EXPECT_TRUE(board->settle_function(1));
    control.awaited.clear();
    config_write(net, 0xc4, 0xfee0'1000);
    EXPECT_TRUE(control.awaited.empty()) << "where they go is the guest's affair";
    config_write(net, 0x42, 0x8000, 2);
    EXPECT_FALSE(board->settle_function(1));
    EXPECT_EQ(hands.wanted[1], std::uint64_t{2} << function_wish::interrupts_shift);
}

// The disk by the first line, the adapter by the second.
struct ByLine : PassThroughTest {
    ByLine() {
        functions.function[0].line = 1, functions.function[1].line = 2;
        own.state.io_apic.live.pins = io_apic_pins;
        start();
        board->local_apic().mmio_write(0xf0, 4, 0x1ff);
        for (unsigned n = 0; n < 2; ++n) set_entry(16 + n, 0xa000 | (0x51 + n));
    }
    void set_entry(unsigned pin, std::uint32_t low) {
        for (const auto& [index, value] : {std::pair{0x11 + 2 * pin, 0U}, {0x10 + 2 * pin, low}}) {
            write(io_apic_address, 4, index);
            write(io_apic_address + 0x10, 4, value);
        }
    }
    void fire(unsigned line) { arrive(max_guest_messages + line); }
    // The guest takes it, and completes it later.
    std::optional<std::uint8_t> begins() {
        const auto vector = board->interrupt_to_inject();
        if (vector) board->interrupt_taken(*vector);
        return vector;
    }
    void completes() {
        next_exit();
        board->local_apic().mmio_write(0xb0, 4, 0);
    }
    bool level(unsigned line) const {
        return (own.state.io_apic.live.levels >> (16 + line) & 1) != 0;
    }
};

TEST_F(ByLine, what_the_guest_finds) {
    EXPECT_EQ(config_read(disk, 0x3d, 1), 1U);
    EXPECT_EQ(config_read(net, 0x3d, 1), 2U);
    config_write(net, 0x04, 0x0400, 2);
    EXPECT_EQ(config_read(net, 0x04, 2), 0x0400U);
    functions.function[1].line = 0;
    start();
    EXPECT_EQ(config_read(net, 0x3d, 1), 0U) << "it has none";
    config_write(net, 0x04, 0, 2);
    (void)board->settle_function(1);
    EXPECT_EQ(hands.wanted[1], 0U);
}

TEST_F(ByLine, asserted_until_it_is_served) {
    fire(1);
    EXPECT_EQ(config_read(net, 0x06, 2) & 8, 8U);
    EXPECT_EQ(config_read(disk, 0x06, 2) & 8, 0U);
    EXPECT_EQ(begins(), 0x52);
    EXPECT_TRUE(hands.acknowledged.empty()) << "the node keeps it masked";
    completes();
    EXPECT_EQ(hands.acknowledged, std::vector<unsigned>{1});
    EXPECT_FALSE(level(1));
    EXPECT_EQ(begins(), std::nullopt) << "once";
    EXPECT_EQ(config_read(net, 0x06, 2) & 8, 0U);
    fire(1);
    EXPECT_EQ(begins(), 0x52) << "it was asserted still";
    completes();
    EXPECT_EQ(hands.acknowledged, (std::vector<unsigned>{1, 1}));
    completes();
    EXPECT_EQ(hands.acknowledged.size(), 2U) << "nothing was in service";
}

TEST_F(ByLine, masked_by_the_guest) {
    set_entry(16, 0x1a051);
    fire(0);
    EXPECT_EQ(begins(), std::nullopt);
    EXPECT_TRUE(level(0));
    set_entry(16, 0xa051);
    EXPECT_EQ(begins(), 0x51);
    write(io_apic_address + 0x40, 4, 0x51);
    EXPECT_EQ(hands.acknowledged, std::vector<unsigned>{0}) << "by the I/O APIC's own register";
}

// How old kernels clear a request: as an edge for a moment.
TEST_F(ByLine, cleared_as_an_edge) {
    fire(0);
    EXPECT_EQ(begins(), 0x51);
    set_entry(16, 0x12051);
    EXPECT_EQ(hands.acknowledged, std::vector<unsigned>{0});
}

TEST_F(ByLine, not_while_it_interrupts_otherwise) {
    fire(0);
    config_write(disk, 0x04, 0x0400, 2);
    EXPECT_FALSE(level(0));
    EXPECT_EQ(board->settle_function(0), true) << "turned off as it was";
    EXPECT_EQ(hands.wanted[0], 0U);
    config_write(disk, 0x04, 0, 2);
    EXPECT_EQ(hands.wanted[0], 0U) << "in an exit of its own";
    (void)board->settle_function(0);
    EXPECT_EQ(hands.wanted[0], std::uint64_t{3} << function_wish::interrupts_shift);
    EXPECT_TRUE(level(0)) << "it waits to be acknowledged";
    config_write(disk, 0x42, 0x8000, 2);
    EXPECT_FALSE(level(0));
    config_write(disk, 0x88, 0x8000, 2);
    EXPECT_TRUE(level(0)) << "a reset forgets that it interrupts otherwise, and not that it waits";
    EXPECT_TRUE(hands.acknowledged.empty());
    EXPECT_EQ(begins(), 0x51);
    completes();
    EXPECT_EQ(hands.acknowledged, std::vector<unsigned>{0});
}

TEST_F(ByLine, one_in_common) {
    functions.function[1].line = 1;
    start();
    fire(0);
    EXPECT_EQ(config_read(net, 0x06, 2) & 8, 8U);
    config_write(disk, 0x04, 0x0400, 2);
    EXPECT_TRUE(level(0)) << "the adapter has it still";
    EXPECT_EQ(begins(), 0x51);
    completes();
    EXPECT_EQ(hands.acknowledged, std::vector<unsigned>{0});
    EXPECT_EQ(config_read(disk, 0x06, 2) & 8, 0U);
}

// A VMM that dies has acknowledged it already: its successor does so again.
TEST_F(ByLine, undone_with_the_exit) {
    fire(0);
    roll_back();
    EXPECT_FALSE(level(0));
    board->function_messages(std::uint64_t{1} << max_guest_messages);
    EXPECT_EQ(begins(), 0x51);
    completes();
    roll_back();
    EXPECT_TRUE(level(0));
    fire(3);
    EXPECT_EQ(hands.acknowledged.size(), 1U) << "a line of nobody's is nobody's";
}

/// With a second vCPU.
class Directed : public PassThroughTest {
  protected:
    Directed() {
        Board::reset(second, own.state.config.live, 1);
        own.cpus.count = 2;
        own.cpus.state[1] = &second;
        place();
    }
    static constexpr std::uint64_t table = 0xc000'2000;
    void set(unsigned number, std::uint64_t address) {
        write(table + 16 * number + 12, 4, 1);
        write(table + 16 * number, 8, address);
        write(table + 16 * number + 8, 4, 0x41);
        write(table + 16 * number + 12, 4, 0);
    }
    using Found = std::map<unsigned, unsigned>;

    CpuState second{};
};

TEST_F(Directed, to_the_vcpu_that_the_guest_names) {
    EXPECT_EQ(hands.directed, Found{}) << "all are masked";
    set(3, 0xfee0'1000);
    EXPECT_EQ(hands.directed, (Found{{3, 1}}));
    set(4, 0xfee0'0000);
    EXPECT_EQ(hands.directed, (Found{{3, 1}, {4, 0}}));
    write(table + 16 * 4, 4, 0xfee0'1000);
    EXPECT_EQ(hands.directed[4], 1U) << "without masking it";
    open_entry(0xd010'0000, 39, 0x52);
    EXPECT_EQ(hands.directed[47], 0U);
}

TEST_F(Directed, not_while_an_entry_is_being_written) {
    set(3, 0xfee0'1000);
    write(table + 16 * 3 + 12, 4, 1);
    write(table + 16 * 3, 4, 0xfee0'0000);
    EXPECT_EQ(hands.directed[3], 1U);
    write(table + 16 * 3 + 12, 4, 0);
    EXPECT_EQ(hands.directed[3], 0U);
}

TEST_F(Directed, logically) {
    const auto set_logical_id = [](StateSlot<LocalApicState>& apic, std::uint32_t id) {
        apic.live.logical_destination = id << 24;
    };
    set_logical_id(own.cpu.local_apic, 1);
    set_logical_id(second.local_apic, 2);
    set(2, 0xfee0'2004);
    EXPECT_EQ(hands.directed[2], 1U);
    set(2, 0xfee0'300c);
    EXPECT_EQ(hands.directed[2], 0U) << "to any of several: the first";
}

TEST_F(Directed, to_nobody) {
    set(3, 0xfee0'1000);
    set(3, 0xfee4'0000);
    set(3, 0x1234'5000);
    write(table + 16 * 3 + 8, 4, 2 << 8);
    EXPECT_EQ(hands.directed, (Found{{3, 1}})) << "it stays where it was";
}

// What an exit has asked for that is undone is asked for again by its successor, as it was.
TEST_F(Directed, by_a_successor) {
    set(3, 0xfee0'1000);
    write(table + 16 * 3, 4, 0xfee0'0000);
    EXPECT_EQ(hands.directed[3], 0U);
    roll_back();
    EXPECT_EQ(hands.directed[3], 1U);
    hands.directed.clear();
    start();
    EXPECT_EQ(hands.directed, (Found{{3, 1}}));
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

}  // namespace
}  // namespace margay::vmm
