#include "servers/vmm/devices/pic.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace margay::vmm {
namespace {

class PicTest : public ::testing::Test {
  protected:
    PicTest() { Pic::reset(state); }

    void initialise(std::uint8_t icw4 = 0x01) {
        pic.write(0x20, 0x11);
        pic.write(0x21, 0x30);
        pic.write(0x21, 0x04);
        pic.write(0x21, icw4);
        pic.write(0xa0, 0x11);
        pic.write(0xa1, 0x38);
        pic.write(0xa1, 0x02);
        pic.write(0xa1, icw4);
        pic.write(0x21, 0x00);
        pic.write(0xa1, 0x00);
    }
    void edge(unsigned irq) {
        pic.set_line(irq, true);
        pic.set_line(irq, false);
    }
    std::uint8_t in_service(std::uint16_t port) {
        pic.write(port, 0x0b);
        return pic.read(port);
    }
    std::uint8_t requests(std::uint16_t port) {
        pic.write(port, 0x0a);
        return pic.read(port);
    }

    test::OwnSlot<PicState> own;
    PicState& state = own.slot.live;
    Pic pic{own.journaled()};
};

TEST_F(PicTest, nothing_after_reset) {
    for (unsigned irq = 0; irq < 16; ++irq) {
        edge(irq);
    }
    EXPECT_FALSE(pic.output());
}

TEST_F(PicTest, mask_register_reads_back) {
    initialise();
    pic.write(0x21, 0xa5);
    pic.write(0xa1, 0x5a);
    EXPECT_EQ(pic.read(0x21), 0xa5);
    EXPECT_EQ(pic.read(0xa1), 0x5a);
}

TEST_F(PicTest, every_input_has_its_vector) {
    initialise();
    for (unsigned irq = 0; irq < 16; ++irq) {
        if (irq == 2 || irq == 9) {  // the cascade; the SCI is level triggered
            continue;
        }
        edge(irq);
        ASSERT_TRUE(pic.output()) << irq;
        EXPECT_EQ(pic.peek(), 0x30 + irq);
        EXPECT_EQ(pic.acknowledge(), 0x30 + irq);
        EXPECT_FALSE(pic.output());
        if (irq >= 8) {
            pic.write(0xa0, 0x20);
        }
        pic.write(0x20, 0x20);
        EXPECT_EQ(in_service(0x20) | in_service(0xa0), 0);
    }
}

TEST_F(PicTest, peek_changes_nothing) {
    initialise();
    edge(4);
    const auto before = state;
    EXPECT_EQ(pic.peek(), 0x34);
    EXPECT_EQ(std::memcmp(&before, &state, sizeof(state)), 0);
}

TEST_F(PicTest, lower_input_waits_for_the_one_in_service) {
    initialise();
    edge(3);
    EXPECT_EQ(pic.acknowledge(), 0x33);
    edge(5);
    EXPECT_FALSE(pic.output());
    edge(1);
    EXPECT_TRUE(pic.output());
    EXPECT_EQ(pic.acknowledge(), 0x31);
    pic.write(0x20, 0x20);  // completes 1, the highest
    EXPECT_EQ(in_service(0x20), 0x08);
    EXPECT_FALSE(pic.output());
    pic.write(0x20, 0x63);  // specific, 3
    EXPECT_TRUE(pic.output());
    EXPECT_EQ(pic.acknowledge(), 0x35);
}

TEST_F(PicTest, slave_comes_at_the_priority_of_the_cascade) {
    initialise();
    edge(3);
    edge(15);
    EXPECT_EQ(pic.acknowledge(), 0x3f);
    EXPECT_EQ(in_service(0x20), 0x04);
    EXPECT_EQ(in_service(0xa0), 0x80);
    edge(8);  // higher in the slave, but the cascade is in service in the master
    EXPECT_FALSE(pic.output());
    pic.write(0x20, 0x62);
    EXPECT_EQ(pic.peek(), 0x38);
}

TEST_F(PicTest, special_fully_nested_master_lets_the_slave_nest) {
    initialise(0x11);
    edge(15);
    EXPECT_EQ(pic.acknowledge(), 0x3f);
    edge(8);
    EXPECT_TRUE(pic.output());
    EXPECT_EQ(pic.acknowledge(), 0x38);
}

TEST_F(PicTest, masked_edge_is_remembered) {
    initialise();
    pic.write(0x21, 0xff);
    edge(4);
    EXPECT_FALSE(pic.output());
    EXPECT_EQ(requests(0x20), 0x10);
    pic.write(0x21, 0xef);
    EXPECT_TRUE(pic.output());
}

TEST_F(PicTest, high_line_is_one_edge) {
    initialise();
    pic.set_line(4, true);
    EXPECT_EQ(pic.acknowledge(), 0x34);
    pic.write(0x20, 0x20);
    pic.set_line(4, true);
    EXPECT_FALSE(pic.output());
    pic.set_line(4, false);
    pic.set_line(4, true);
    EXPECT_TRUE(pic.output());
}

TEST_F(PicTest, level_input_asks_as_long_as_it_is_high) {
    initialise();
    EXPECT_EQ(pic.read(0x4d1), 0x02);  // the SCI
    pic.set_line(9, true);
    EXPECT_EQ(pic.acknowledge(), 0x39);
    pic.write(0xa0, 0x20);
    pic.write(0x20, 0x20);
    EXPECT_TRUE(pic.output());
    pic.set_line(9, false);
    EXPECT_FALSE(pic.output());
}

TEST_F(PicTest, elcr_protects_the_edge_only_inputs) {
    pic.write(0x4d0, 0xff);
    pic.write(0x4d1, 0xff);
    EXPECT_EQ(pic.read(0x4d0), 0xf8);
    EXPECT_EQ(pic.read(0x4d1), 0xde);
}

TEST_F(PicTest, acknowledge_without_request_is_spurious) {
    initialise();
    EXPECT_EQ(pic.acknowledge(), 0x37);
    EXPECT_EQ(in_service(0x20), 0);
}

TEST_F(PicTest, auto_eoi_leaves_nothing_in_service) {
    initialise(0x03);
    edge(6);
    EXPECT_EQ(pic.acknowledge(), 0x36);
    EXPECT_EQ(in_service(0x20), 0);
}

TEST_F(PicTest, rotation_makes_the_completed_input_lowest) {
    initialise();
    edge(3);
    EXPECT_EQ(pic.acknowledge(), 0x33);
    pic.write(0x20, 0xa0);  // rotate on non-specific EOI
    edge(3);
    edge(7);
    EXPECT_EQ(pic.acknowledge(), 0x37);
}

TEST_F(PicTest, set_priority_command) {
    initialise();
    pic.write(0x20, 0xc4);  // 4 becomes lowest, 5 highest
    edge(0);
    edge(5);
    EXPECT_EQ(pic.peek(), 0x35);
}

TEST_F(PicTest, special_mask_lets_lower_inputs_through) {
    initialise();
    edge(3);
    EXPECT_EQ(pic.acknowledge(), 0x33);
    edge(6);
    EXPECT_FALSE(pic.output());
    pic.write(0x20, 0x68);
    pic.write(0x21, 0x08);
    EXPECT_TRUE(pic.output());
    EXPECT_EQ(pic.peek(), 0x36);
}

TEST_F(PicTest, poll_acknowledges) {
    initialise();
    edge(6);
    pic.write(0x20, 0x0c);
    EXPECT_EQ(pic.read(0x20), 0x86);
    EXPECT_EQ(in_service(0x20), 0x40);
    pic.write(0x20, 0x0c);
    EXPECT_EQ(pic.read(0x20), 0x07);
}

TEST_F(PicTest, silent_during_initialisation) {
    initialise();
    pic.write(0x20, 0x11);
    edge(1);
    EXPECT_FALSE(pic.output());
    pic.write(0x21, 0x50);
    pic.write(0x21, 0x04);
    pic.write(0x21, 0x01);
    EXPECT_EQ(pic.peek(), 0x51);
}

TEST_F(PicTest, lines_beyond_the_chip_are_ignored) {
    initialise();
    pic.set_line(2, true);
    pic.set_line(16, true);
    pic.set_line(~0U, true);
    EXPECT_FALSE(pic.output());
}

}  // namespace
}  // namespace margay::vmm
