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
