#include "servers/vmm/board.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <random>

namespace margay::vmm {
namespace {

class BoardTest : public ::testing::Test {
  protected:
    BoardTest() { own->reset({2'000'000, 1'700'000'000, 0, 40, 1, 0, 1, 0}, test::generous_cpuid); }

    void out(std::uint16_t port, std::uint32_t value) { board.port_write(port, 1, value); }
    std::uint32_t in(std::uint16_t port) { return board.port_read(port, 1); }
    void initialise_pic() {
        for (const auto& [port, value] : {std::pair{0x20, 0x11},
                                          {0x21, 0x30},
                                          {0x21, 4},
                                          {0x21, 1},
                                          {0xa0, 0x11},
                                          {0xa1, 0x38},
                                          {0xa1, 2},
                                          {0xa1, 1},
                                          {0x21, 0},
                                          {0xa1, 0}}) {
            out(static_cast<std::uint16_t>(port), static_cast<std::uint32_t>(value));
        }
    }
    void write_io_apic(unsigned index, std::uint32_t value) {
        board.mmio_write(0xfec0'0000, 4, index);
        board.mmio_write(0xfec0'0010, 4, value);
    }
    void write_msr(std::uint32_t index, std::uint64_t value) {
        EXPECT_EQ(board.msr_write(index, value), MsrResult::done) << std::hex << index;
    }

    test::FakeClock clock;
    test::FakeSink sink;
    test::FakeControl control;
    test::FakeMemory memory;
    std::unique_ptr<test::OwnBoardState> own = std::make_unique<test::OwnBoardState>(memory);
    Board board{own->parts(clock, sink, control, memory)};
};

TEST_F(BoardTest, quiet_at_power_on) {
    EXPECT_EQ(board.interrupt_to_inject(), std::nullopt);
    EXPECT_FALSE(board.nmi_to_inject());
    EXPECT_EQ(board.next_deadline(), no_deadline);
}

TEST_F(BoardTest, serial_port_and_absent_ones) {
    out(0x3f8, 'x');
    EXPECT_EQ(sink.output, "x");
    EXPECT_EQ(in(0x3fd), 0x60U);
    for (const std::uint16_t port : {0x2f8, 0x3e8, 0x2e8}) {
        EXPECT_EQ(in(port), 0xffU);
    }
}

TEST_F(BoardTest, unclaimed_ports_read_ones_and_are_counted) {
    EXPECT_EQ(board.port_read(0xf4, 1), 0xffU);
    EXPECT_EQ(board.port_read(0xf4, 2), 0xffffU);
    EXPECT_EQ(board.port_read(0xf4, 4), 0xffff'ffffU);
    board.port_write(0xf4, 1, 1);
    EXPECT_EQ(board.unclaimed_ports(), 1U + 2 + 4 + 1);
    out(0x80, 0);
    EXPECT_EQ(board.unclaimed_ports(), 8U);
}

TEST_F(BoardTest, wide_access_to_byte_ports_is_split) {
    board.port_write(0x3f8, 2, 0x0541);  // data 'A', then IER 5
    EXPECT_EQ(sink.output, "A");
    EXPECT_EQ(board.port_read(0x3f8, 2) >> 8, 5U);
}

TEST_F(BoardTest, configuration_space_next_to_the_reset_register) {
    board.port_write(0xcf8, 4, 0x8000'0000);
    EXPECT_EQ(board.port_read(0xcf8, 4), 0x8000'0000U);
    EXPECT_EQ(board.port_read(0xcfc, 4), 0x0008'1b36U);
    EXPECT_EQ(board.port_read(0xcfe, 2), 0x0008U);
    EXPECT_EQ(board.port_read(0xcfd, 1), 0x1bU);
    EXPECT_EQ(control.resets, 0U);
    out(0xcf9, 0x06);
    EXPECT_EQ(control.resets, 1U);
}

TEST_F(BoardTest, power_off) {
    board.port_write(0x604, 2, 1U << 13 | 5U << 10);
    EXPECT_EQ(control.power_offs, 1U);
}

TEST_F(BoardTest, keyboard_controller_resets_and_is_absent) {
    EXPECT_EQ(in(0x64) & 3, 1U);
    EXPECT_EQ(in(0x60), 0xffU);
    out(0x64, 0xfe);
    EXPECT_EQ(control.resets, 1U);
}

TEST_F(BoardTest, external_interrupt_is_acknowledged_only_when_taken) {
    initialise_pic();
    board.set_irq_line(4, true);
    EXPECT_EQ(board.interrupt_to_inject(), 0x34);
    EXPECT_EQ(board.interrupt_to_inject(), 0x34);
    EXPECT_EQ(own->state.pic.live.chip[0].in_service, 0);
    board.set_irq_line(1, true);  // a higher one replaces it
    EXPECT_EQ(board.interrupt_to_inject(), 0x31);
    board.interrupt_taken(0x31);
    EXPECT_EQ(own->state.pic.live.chip[0].in_service, 0x02);
    EXPECT_EQ(board.interrupt_to_inject(), std::nullopt);
    out(0x20, 0x20);
    EXPECT_EQ(board.interrupt_to_inject(), 0x34);
}

TEST_F(BoardTest, masking_withdraws_the_offer) {
    initialise_pic();
    board.set_irq_line(4, true);
    EXPECT_EQ(board.interrupt_to_inject(), 0x34);
    out(0x21, 0xff);
    EXPECT_EQ(board.interrupt_to_inject(), std::nullopt);
    EXPECT_EQ(own->cpu.offer.live.source, OfferState::Source::none);
    out(0x21, 0x00);
    EXPECT_EQ(board.interrupt_to_inject(), 0x34);
    write_msr(0x835, 0x1'0700);  // LINT0 masked
    EXPECT_EQ(board.interrupt_to_inject(), std::nullopt);
    write_io_apic(0x10, 0x700);  // but pin 0 passes it
    EXPECT_EQ(board.interrupt_to_inject(), 0x34);
}

TEST_F(BoardTest, serial_interrupt_by_the_io_apic) {
    write_io_apic(0x11 + 8, 0);
    write_io_apic(0x10 + 8, 0x41);
    out(0x3fc, 0x08);
    out(0x3f9, 0x01);
    EXPECT_TRUE(board.console_input('k'));
    EXPECT_EQ(board.interrupt_to_inject(), 0x41);
    board.interrupt_taken(0x41);
    EXPECT_EQ(board.interrupt_to_inject(), std::nullopt);
    EXPECT_EQ(in(0x3f8), static_cast<unsigned>('k'));
    write_msr(0x80b, 0);
    EXPECT_TRUE(board.console_input('l'));
    EXPECT_EQ(board.interrupt_to_inject(), 0x41);
}

TEST_F(BoardTest, timer_line_is_pin_2) {
    write_io_apic(0x14, 0x30);
    out(0x43, 0x34);
    out(0x40, 100);
    out(0x40, 0);
    clock.ns = board.next_deadline();
    ASSERT_NE(clock.ns, no_deadline);
    board.expire(clock.ns);
    EXPECT_EQ(board.interrupt_to_inject(), 0x30);
}

TEST_F(BoardTest, level_interrupt_comes_again_until_its_cause_is_gone) {
    write_io_apic(0x10 + 18, 1U << 15 | 0x59);
    board.port_write(0x602, 2, 0x0100);
    board.see_power_presses(1);
    for (unsigned round = 0; round < 3; ++round) {
        ASSERT_EQ(board.interrupt_to_inject(), 0x59);
        board.interrupt_taken(0x59);
        EXPECT_EQ(board.interrupt_to_inject(), std::nullopt);
        if (round == 2) {
            board.port_write(0x600, 2, 0x0100);
        }
        write_msr(0x80b, 0);
    }
    EXPECT_EQ(board.interrupt_to_inject(), std::nullopt);
}

TEST_F(BoardTest, earliest_deadline_of_all) {
    write_msr(0x832, 2U << 17 | 0xec);
    write_msr(0x6e0, 2'000'000);
    EXPECT_EQ(board.next_deadline(), 1'000'000U);
    out(0x43, 0x34);
    out(0x40, 100);
    out(0x40, 0);
    EXPECT_EQ(board.next_deadline(), 83'810U);
    out(0x43, 0x34);
    EXPECT_EQ(board.next_deadline(), 1'000'000U);
    clock.ns = 1'000'000;
    board.expire(clock.ns);
    EXPECT_EQ(board.interrupt_to_inject(), 0xec);
    EXPECT_EQ(board.next_deadline(), no_deadline);
}

TEST_F(BoardTest, ipi_to_self_and_others) {
    write_msr(0x830, 0x0000'0000'0000'00d1);
    EXPECT_EQ(board.interrupt_to_inject(), 0xd1);
    write_msr(0x830, 0x0000'0007'0000'00d2);  // nobody there
    write_msr(0x830, 0x000c'00d3);
    EXPECT_EQ(board.interrupt_to_inject(), 0xd1);
    write_msr(0x830, 0x0008'00d4);
    EXPECT_EQ(board.interrupt_to_inject(), 0xd4);
    write_msr(0x830, 0x0004'0400);  // NMI to self
    EXPECT_TRUE(board.nmi_to_inject());
    EXPECT_FALSE(board.nmi_to_inject());
}

TEST_F(BoardTest, a_second_board_over_the_same_state_goes_on) {
    initialise_pic();
    write_msr(0x832, 2U << 17 | 0xec);
    write_msr(0x6e0, 2000);
    board.set_irq_line(4, true);
    EXPECT_EQ(board.interrupt_to_inject(), 0x34);
    auto copy = std::make_unique<test::OwnBoardState>(memory);
    copy->state = own->state;
    copy->cpu = own->cpu;
    copy->transaction.begin(2);
    Board successor{copy->parts(clock, sink, control, memory)};
    successor.interrupt_taken(0x34);
    EXPECT_EQ(copy->state.pic.live.chip[0].in_service, 0x10);
    clock.ns = 1000;
    successor.expire(clock.ns);
    EXPECT_EQ(successor.interrupt_to_inject(), 0xec);
}

TEST_F(BoardTest, mmio_outside_devices) {
    EXPECT_EQ(board.mmio_read(0xfed0'0000, 4), 0xffff'ffffU);
    EXPECT_EQ(board.mmio_read(0xfee0'0020, 4), 0xffff'ffffU);  // x2APIC mode: no page
    board.mmio_write(0xfed0'0000, 8, 0);
    EXPECT_EQ(board.mmio_read(0xfec0'0ffe, 4), 0xffff'ffffU);  // crosses the page
    EXPECT_EQ(board.unclaimed_mmio(), 4U);
}

TEST_F(BoardTest, local_apic_page_in_xapic_mode) {
    own->state.config.live.start_in_x2apic = 0;
    own->reset(own->state.config.live, test::generous_cpuid);
    EXPECT_EQ(board.mmio_read(0xfee0'0030, 4), 0x0005'0014U);
}

TEST_F(BoardTest, everything_is_survived) {
    std::mt19937_64 random{7};
    for (unsigned i = 0; i < 200'000; ++i) {
        const auto value = random();
        const auto width = 1U << (value & 3);
        const auto where = random();
        switch (random() % 10) {
        case 0:
        case 1:
        case 2:
            board.port_write(
                static_cast<std::uint16_t>(where & (random() % 2 == 0 ? 0xffff : 0x4ff)), width,
                static_cast<std::uint32_t>(value));
            break;
        case 3:
        case 4:
            static_cast<void>(board.port_read(static_cast<std::uint16_t>(where & 0xfff), width));
            break;
        case 5:
            board.mmio_write(0xfec0'0000 + (where & 0xfff), width, value);
            board.mmio_write(0xfec0'0000, 4, where >> 40);
            board.mmio_write(0xfec0'0010, 4, value);
            break;
        case 6: static_cast<void>(board.msr_write(0x800 + (where & 0x3f), value & 0xfffff)); break;
        case 7: {
            std::uint64_t result = 0;
            static_cast<void>(board.msr_read(static_cast<std::uint32_t>(where), result));
            static_cast<void>(board.msr_read(0x800 + (where & 0x3f), result));
            break;
        }
        case 8:
            clock.ns += where & 0xfffff;
            board.expire(clock.ns);
            ASSERT_GT(board.next_deadline(), clock.ns);
            break;
        default:
            if (const auto vector = board.interrupt_to_inject();
                vector.has_value() && (where & 1) != 0) {
                board.interrupt_taken(*vector);
            }
            static_cast<void>(board.console_input(static_cast<std::uint8_t>(value)));
            break;
        }
    }
}

}  // namespace
}  // namespace margay::vmm
