// Functions that the guest drives: what it finds of them, what is mapped when, and what reaches the real ones.
#include "tests/unit/vmm/pass_through_fixture.hpp"

#include <algorithm>
#include <random>

namespace margay::vmm {
namespace {

using namespace test;

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

TEST_F(PassThroughTest, bus_mastering_is_waited_for) {
    place();
    EXPECT_TRUE(control.awaited.empty());
    config_write(disk, 4, 6, 2);
    EXPECT_EQ(control.awaited, std::vector<unsigned>{0});
    EXPECT_EQ(hands.wanted[0], by_msix) << "not before that exit is committed";
    next_exit();
    EXPECT_FALSE(board->settle_function(0));
    EXPECT_EQ(hands.wanted[0], by_msix | function_wish::bus_master);
    EXPECT_EQ(hands.signals, 1U);
    EXPECT_FALSE(board->settle_function(0));
    EXPECT_EQ(hands.signals, 1U);
    EXPECT_TRUE(board->settle_function(1)) << "of another one";
    EXPECT_TRUE(touch(0xc000'0000)) << "it answers meanwhile";
    hands.grant[0] = by_msix | function_wish::bus_master;
    EXPECT_TRUE(board->settle_function(0));
    EXPECT_TRUE(hands.log.empty()) << "its table needs nothing";
    config_write(disk, 4, 6, 2);
    EXPECT_EQ(control.awaited.size(), 1U) << "nothing changed";
    config_write(disk, 0x64, 3, 1);
    EXPECT_EQ(control.awaited.size(), 2U) << "asleep it masters nothing";
    next_exit();
    EXPECT_FALSE(board->settle_function(0));
    EXPECT_EQ(hands.wanted[0], by_msix);
    EXPECT_TRUE(board->settle_function(7)) << "none";
}

TEST_F(PassThroughTest, a_wish_that_is_undone_was_never_told) {
    place();
    config_write(disk, 4, 6, 2);
    roll_back();
    EXPECT_EQ(hands.signals, 0U);
    EXPECT_EQ(hands.wanted[0], by_msix);
    // The exit again, and its end.
    board->port_write(0xcfc, 2, 6);
    EXPECT_EQ(control.awaited, std::vector<unsigned>{0});
    next_exit();
    EXPECT_FALSE(board->settle_function(0));
    start();
    EXPECT_EQ(hands.signals, 1U) << "the successor wants the same";
    EXPECT_EQ(hands.wanted[0], by_msix | function_wish::bus_master);
}

TEST_F(PassThroughTest, a_successor_wants_what_was_committed) {
    place();
    config_write(disk, 4, 6, 2);
    next_exit();
    start();
    EXPECT_EQ(hands.wanted[0], by_msix | function_wish::bus_master);
    EXPECT_EQ(hands.wanted[1], by_msix);
}

TEST_F(PassThroughTest, the_guest_resets_its_function) {
    board->local_apic().mmio_write(0xf0, 4, 0x1ff);
    place();
    config_write(disk, 4, 6, 2);
    next_exit();
    hands.grant[0] = by_msix | function_wish::bus_master;
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
    EXPECT_EQ(hands.wanted[0], by_msix);
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

// The adapter with 32 ports in BAR 2.
struct WithPorts : PassThroughTest {
    WithPorts() {
        functions.function[1].bar_size[2] = 32, functions.function[1].bar_flags[2] = 1;
        functions.add(1, 2, 0, 32, false);
        functions.part[functions.parts - 1].is_ports = 1;
        start();
    }
    std::uint32_t in(unsigned port, unsigned width) {
        next_exit();
        return board->port_read(static_cast<std::uint16_t>(port), width);
    }
    void out(unsigned port, unsigned width, std::uint32_t value) {
        next_exit();
        board->port_write(static_cast<std::uint16_t>(port), width, value);
    }
};

TEST_F(WithPorts, reach_the_function) {
    config_write(net, 0x18, ~0U);
    EXPECT_EQ(config_read(net, 0x18), 0xffff'ffe1U);
    config_write(net, 0x18, 0x6000);
    EXPECT_EQ(in(0x6000, 4), ~0U) << "it does not decode";
    config_write(net, 0x04, 1, 2);
    hands.log.clear();
    EXPECT_EQ(in(0x6000, 4), 0xa5a5'a5a5U);
    EXPECT_EQ(in(0x601f, 1), 0xa5U);
    EXPECT_EQ(in(0x6002, 2), 0xa5a5U);
    out(0x6004, 4, 77);
    out(0x6001, 1, 3);
    EXPECT_EQ(hands.log,
              (std::vector<std::string>{"in0/4", "in31/1", "in2/2", "out4/4=77", "out1/1=3"}));
    EXPECT_TRUE(hands.mapped.empty());
    EXPECT_FALSE(touch(0x6000)) << "they are no memory";
}

TEST_F(WithPorts, and_nothing_beyond_them) {
    config_write(net, 0x18, 0x6000);
    config_write(net, 0x04, 1, 2);
    hands.log.clear();
    EXPECT_EQ(in(0x6020, 1), 0xffU);
    EXPECT_EQ(in(0x5fff, 1), 0xffU);
    EXPECT_EQ(in(0x601e, 4), 0xffff'a5a5U) << "byte by byte";
    EXPECT_EQ(in(0x5ffe, 4), 0xa5a5'ffffU);
    out(0x601f, 2, 0x1234);
    EXPECT_EQ(hands.log,
              (std::vector<std::string>{"in30/1", "in31/1", "in0/1", "in1/1", "out31/1=52"}));
    hands.log.clear();
    config_write(net, 0x64, 3, 1);
    EXPECT_EQ(in(0x6000, 4), ~0U) << "it is asleep";
    config_write(net, 0x64, 0, 1);
    config_write(net, 0x88, 0x8000, 2);
    config_write(net, 0x18, 0x6000);
    config_write(net, 0x04, 1, 2);
    EXPECT_EQ(in(0x6000, 4), ~0U) << "it is being reset";
    out(0x6000, 4, 1);
    EXPECT_TRUE(hands.log.empty());
    hands.grant[1] = 1U << function_wish::resets_shift;
    EXPECT_NE(in(0x6000, 4), ~0U);
    // The board's own devices come first.
    config_write(net, 0x18, 0xce0);
    hands.log.clear();
    (void)in(0xcfc, 4);
    (void)in(0xcf8, 4);
    EXPECT_TRUE(hands.log.empty());
    config_write(net, 0x18, 0x1'6000);
    EXPECT_EQ(in(0x6000, 4), ~0U) << "there are no such ports";
}

TEST_F(PassThroughTest, a_second_window) {
    config_write(disk, 0x04, 2, 2);
    config_write(disk, 0x14, 1);
    EXPECT_FALSE(touch(0x1'0000'0000)) << "there is none";
    EXPECT_EQ(read(0x1'0000'2000, 4), 0xffff'ffffU);
    functions.high_window = 0x1'0000'0000, functions.high_window_bytes = 0x20'0000;
    start();
    EXPECT_TRUE(touch(0x1'0000'0000));
    EXPECT_EQ(hands.mapped, (std::map<unsigned, std::uint64_t>{{disk_registers, 0x1'0000'0000}}));
    open_entry(0x1'0000'2000, 0, 0x41);
    EXPECT_EQ(read(0x1'0000'2008, 4), 0x41U);
    config_write(disk, 0x10, 0x20'0000);
    EXPECT_TRUE(hands.mapped.empty());
    EXPECT_FALSE(touch(0x1'0020'0000)) << "it is behind the window";
    config_write(disk, 0x10, 0x1f'c000);
    EXPECT_TRUE(touch(0x1'001f'c000)) << "its end";
}

}  // namespace
}  // namespace margay::vmm
