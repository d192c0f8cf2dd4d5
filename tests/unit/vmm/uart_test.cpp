#include "servers/vmm/devices/uart.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

namespace margay::vmm {
namespace {

class UartTest : public ::testing::Test {
  protected:
    UartTest() { Uart::reset(state); }

    test::OwnSlot<UartState> own;
    UartState& state = own.slot.live;
    test::FakeSink sink;
    test::FakeLines lines;
    Uart uart{own.journaled(), sink, lines, 4};
};

TEST_F(UartTest, output_goes_to_the_sink_and_the_transmitter_is_always_empty) {
    for (const char c : std::string{"margay"}) {
        EXPECT_EQ(uart.read(5), 0x60);
        uart.write(0, static_cast<std::uint8_t>(c));
    }
    EXPECT_EQ(sink.output, "margay");
}

TEST_F(UartTest, divisor_latch_hides_data_and_interrupt_enable) {
    uart.write(1, 0x05);
    uart.write(3, 0x83);
    uart.write(0, 0x01);
    uart.write(1, 0x02);
    EXPECT_EQ(uart.read(0), 0x01);
    EXPECT_EQ(uart.read(1), 0x02);
    uart.write(3, 0x03);
    EXPECT_EQ(uart.read(1), 0x05);
    EXPECT_EQ(sink.output, "");
}

TEST_F(UartTest, interrupt_enable_has_four_bits) {
    uart.write(1, 0xff);
    EXPECT_EQ(uart.read(1), 0x0f);  // Linux tells chips apart by this
}

TEST_F(UartTest, loopback_modem_lines_as_linux_probes_them) {
    uart.write(4, 0x1a);  // LOOP, OUT2, RTS
    EXPECT_EQ(uart.read(6) & 0xf0, 0x90);
    uart.write(4, 0x15);  // LOOP, OUT1, DTR
    EXPECT_EQ(uart.read(6) & 0xf0, 0x60);
    uart.write(4, 0x00);
    EXPECT_EQ(uart.read(6) & 0xf0, 0xb0);
}

TEST_F(UartTest, loopback_data_does_not_leave) {
    uart.write(2, 0x01);
    uart.write(4, 0x10);
    for (unsigned i = 0; i < 17; ++i) {
        uart.write(0, static_cast<std::uint8_t>(i));
    }
    EXPECT_EQ(sink.output, "");
    EXPECT_EQ(uart.read(5), 0x63);  // ready and overrun
    EXPECT_EQ(uart.read(5), 0x61);  // reading clears overrun
    for (unsigned i = 0; i < 16; ++i) {
        EXPECT_EQ(uart.read(0), i);
    }
    EXPECT_EQ(uart.read(5), 0x60);
}

TEST_F(UartTest, identifies_as_16550a) {
    EXPECT_EQ(uart.read(2), 0x01);
    uart.write(2, 0x01);
    EXPECT_EQ(uart.read(2), 0xc1);
    uart.write(2, 0xe1);
    EXPECT_EQ(uart.read(2), 0xc1);  // no 64-byte FIFO bit
    uart.write(2, 0x00);
    EXPECT_EQ(uart.read(2), 0x01);
}

TEST_F(UartTest, receive_without_fifo_holds_one) {
    EXPECT_TRUE(uart.receive('a'));
    EXPECT_FALSE(uart.receive('b'));
    EXPECT_EQ(sink.room_calls, 0U);
    EXPECT_EQ(uart.read(0), 'a');
    EXPECT_EQ(sink.room_calls, 1U);
    EXPECT_TRUE(uart.receive('b'));
    EXPECT_EQ(uart.read(0), 'b');
    EXPECT_EQ(sink.room_calls, 1U);
}

TEST_F(UartTest, fifo_keeps_sixteen_in_order_across_the_wrap) {
    uart.write(2, 0x01);
    for (unsigned round = 0; round < 5; ++round) {
        for (unsigned i = 0; i < 16; ++i) {
            EXPECT_TRUE(uart.receive(static_cast<std::uint8_t>(round * 16 + i)));
        }
        EXPECT_FALSE(uart.receive(0xff));
        for (unsigned i = 0; i < 16; ++i) {
            EXPECT_EQ(uart.read(0), round * 16 + i);
        }
        EXPECT_TRUE(uart.receive(7));  // moves the start
        EXPECT_EQ(uart.read(0), 7);
    }
}

TEST_F(UartTest, reading_an_empty_receiver_is_harmless) {
    for (unsigned i = 0; i < 40; ++i) {
        EXPECT_EQ(uart.read(0), 0);
    }
    EXPECT_TRUE(uart.receive('x'));
    EXPECT_EQ(uart.read(0), 'x');
}

TEST_F(UartTest, receive_interrupt_at_trigger_and_timeout_below) {
    uart.write(2, 0x81);  // trigger 8
    uart.write(4, 0x08);
    uart.write(1, 0x01);
    EXPECT_FALSE(lines.level[4]);
    EXPECT_TRUE(uart.receive(1));
    EXPECT_TRUE(lines.level[4]);
    EXPECT_EQ(uart.read(2), 0xcc);
    for (unsigned i = 1; i < 8; ++i) {
        EXPECT_TRUE(uart.receive(1));
    }
    EXPECT_EQ(uart.read(2), 0xc4);
    for (unsigned i = 0; i < 8; ++i) {
        EXPECT_TRUE(lines.level[4]);
        EXPECT_EQ(uart.read(0), 1);
    }
    EXPECT_FALSE(lines.level[4]);
    EXPECT_EQ(lines.edges[4], 1U);
}

TEST_F(UartTest, transmit_interrupt_on_enable_and_after_each_byte) {
    uart.write(4, 0x08);
    uart.write(1, 0x02);
    EXPECT_TRUE(lines.level[4]);
    EXPECT_EQ(uart.read(2), 0x02);
    EXPECT_FALSE(lines.level[4]);  // reading IIR clears it
    EXPECT_EQ(uart.read(2), 0x01);
    uart.write(0, 'a');
    EXPECT_TRUE(lines.level[4]);
    uart.write(1, 0x00);
    EXPECT_FALSE(lines.level[4]);
    EXPECT_EQ(uart.read(2), 0x01);
    uart.write(1, 0x02);  // as Linux tests for the missing-THRE bug
    EXPECT_EQ(uart.read(2), 0x02);
}

TEST_F(UartTest, receive_comes_before_transmit) {
    uart.write(4, 0x08);
    uart.write(1, 0x03);
    EXPECT_TRUE(uart.receive('k'));
    EXPECT_EQ(uart.read(2), 0x04);
    EXPECT_EQ(uart.read(0), 'k');
    EXPECT_EQ(uart.read(2), 0x02);
    EXPECT_FALSE(lines.level[4]);
}

TEST_F(UartTest, line_is_gated_by_out2) {
    uart.write(1, 0x02);
    EXPECT_FALSE(lines.level[4]);
    uart.write(4, 0x08);
    EXPECT_TRUE(lines.level[4]);
    uart.write(4, 0x18);
    EXPECT_FALSE(lines.level[4]);
}

TEST_F(UartTest, clearing_the_fifo_drops_bytes_and_tells_of_room) {
    uart.write(2, 0x01);
    for (unsigned i = 0; i < 16; ++i) {
        EXPECT_TRUE(uart.receive(1));
    }
    EXPECT_FALSE(uart.receive(1));
    uart.write(2, 0x03);
    EXPECT_EQ(uart.read(5), 0x60);
    EXPECT_EQ(sink.room_calls, 1U);
}

TEST_F(UartTest, modem_delta_interrupts_and_clears_on_read) {
    uart.write(1, 0x08);
    uart.write(4, 0x10);  // inputs drop from DCD, DSR, CTS
    EXPECT_EQ(uart.read(2), 0x00);
    EXPECT_EQ(uart.read(6), 0x0b);
    EXPECT_EQ(uart.read(6), 0x00);
    EXPECT_EQ(uart.read(2), 0x01);
}

TEST_F(UartTest, scratch_and_read_only_registers) {
    uart.write(7, 0xa5);
    uart.write(5, 0x00);
    uart.write(6, 0xff);
    EXPECT_EQ(uart.read(7), 0xa5);
    EXPECT_EQ(uart.read(5), 0x60);
    EXPECT_EQ(uart.read(6), 0xb0);
    EXPECT_EQ(uart.read(8), 0xff);
    uart.write(99, 1);
}

}  // namespace
}  // namespace margay::vmm
