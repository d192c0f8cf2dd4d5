#include "servers/vmm/devices/pit.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

namespace margay::vmm {
namespace {

/// Exact time of a tick count, rounded up to a nanosecond.
std::uint64_t ticks(std::uint64_t count) {
    return (count * 1'000'000'000 + pit_hertz - 1) / pit_hertz;
}

class PitTest : public ::testing::Test {
  protected:
    PitTest() { Pit::reset(state); }

    void program(unsigned channel, unsigned mode, std::uint16_t count) {
        pit.write(0x43, static_cast<std::uint8_t>(channel << 6 | 0x30 | mode << 1));
        pit.write(static_cast<std::uint16_t>(0x40 + channel), static_cast<std::uint8_t>(count));
        pit.write(static_cast<std::uint16_t>(0x40 + channel),
                  static_cast<std::uint8_t>(count >> 8));
    }
    unsigned latched(unsigned channel) {
        pit.write(0x43, static_cast<std::uint8_t>(channel << 6));
        const auto port = static_cast<std::uint16_t>(0x40 + channel);
        const unsigned low = pit.read(port);
        return low | static_cast<unsigned>(pit.read(port)) << 8;
    }

    test::OwnSlot<PitState> own;
    PitState& state = own.slot.live;
    test::FakeClock clock;
    test::FakeLines lines;
    Pit pit{own.journaled(), clock, lines};
};

TEST_F(PitTest, silent_until_programmed) {
    EXPECT_EQ(pit.next_deadline(), no_deadline);
    pit.expire(1'000'000'000);
    EXPECT_EQ(lines.edges[0], 0U);
}

TEST_F(PitTest, rate_generator_ticks_at_exact_times) {
    program(0, 2, 11'932);
    for (unsigned period = 1; period <= 50; ++period) {
        EXPECT_EQ(pit.next_deadline(), ticks(period * 11'932ULL));
        clock.ns = pit.next_deadline() - 1;
        pit.expire(clock.ns);
        EXPECT_EQ(lines.edges[0], period - 1);
        ++clock.ns;
        pit.expire(clock.ns);
        EXPECT_EQ(lines.edges[0], period);
    }
}

TEST_F(PitTest, missed_ticks_are_one) {
    program(0, 3, 1000);
    clock.ns = ticks(1000) * 10 + 5;
    pit.expire(clock.ns);
    EXPECT_EQ(lines.edges[0], 1U);
    EXPECT_GT(pit.next_deadline(), clock.ns);
    EXPECT_LE(pit.next_deadline(), clock.ns + ticks(1000));
}

TEST_F(PitTest, one_shot_fires_once) {
    clock.ns = 12'345'678;
    program(0, 0, 1000);
    clock.ns = pit.next_deadline();
    pit.expire(clock.ns);
    EXPECT_EQ(lines.edges[0], 1U);
    EXPECT_EQ(pit.next_deadline(), no_deadline);
    program(0, 0, 10);
    EXPECT_NE(pit.next_deadline(), no_deadline);
}

TEST_F(PitTest, control_word_stops_the_old_programme) {
    program(0, 2, 1000);
    pit.write(0x43, 0x30);
    EXPECT_EQ(pit.next_deadline(), no_deadline);
    pit.write(0x40, 0x10);  // half of the count does not start it
    EXPECT_EQ(pit.next_deadline(), no_deadline);
}

TEST_F(PitTest, zero_means_65536) {
    program(0, 2, 0);
    EXPECT_EQ(pit.next_deadline(), ticks(65'536));
    clock.ns = ticks(1);
    EXPECT_EQ(latched(0), 65'535U);
}

TEST_F(PitTest, mode_0_counts_down_and_wraps) {
    program(0, 0, 1000);
    for (const auto passed : {0U, 1U, 500U, 999U}) {
        clock.ns = ticks(passed);
        EXPECT_EQ(latched(0), 1000 - passed);
    }
    clock.ns = ticks(1001);
    EXPECT_EQ(latched(0), 0xffffU);
}

TEST_F(PitTest, mode_2_runs_from_n_to_1) {
    program(0, 2, 10);
    for (unsigned passed = 0; passed < 35; ++passed) {
        clock.ns = ticks(passed);
        EXPECT_EQ(latched(0), 10 - passed % 10) << passed;
    }
}

TEST_F(PitTest, mode_3_counts_by_two_and_is_never_zero) {
    program(0, 3, 10);
    const unsigned expected[] = {10, 8, 6, 4, 2, 10, 8, 6, 4, 2, 10};
    for (unsigned passed = 0; passed < 11; ++passed) {
        clock.ns = ticks(passed);
        EXPECT_EQ(latched(0), expected[passed]) << passed;
    }
    for (const auto count : {1U, 2U, 3U}) {
        program(0, 3, static_cast<std::uint16_t>(count));
        for (unsigned i = 0; i < 10; ++i) {
            clock.ns += 700;
            EXPECT_NO_FATAL_FAILURE(static_cast<void>(latched(0)));
        }
    }
}

TEST_F(PitTest, mode_3_is_high_for_the_longer_half_of_an_odd_count) {
    program(0, 3, 5);
    for (unsigned passed = 0; passed < 10; ++passed) {
        clock.ns = ticks(passed);
        pit.write(0x43, 0xe2);  // status of channel 0
        EXPECT_EQ((pit.read(0x40) & 0x80) != 0, passed % 5 < 3) << passed;
    }
}

TEST_F(PitTest, latch_holds_until_read) {
    program(0, 2, 1000);
    clock.ns = ticks(100);
    pit.write(0x43, 0x00);
    clock.ns = ticks(300);
    pit.write(0x43, 0x00);  // ignored
    EXPECT_EQ(pit.read(0x40), 900 & 0xff);
    EXPECT_EQ(pit.read(0x40), 900 >> 8);
    EXPECT_EQ(pit.read(0x40), 700 & 0xff);
}

TEST_F(PitTest, read_back_gives_status_then_count) {
    program(2, 0, 500);
    pit.write_speaker(1);
    pit.write(0x43, 0xc8);  // count and status of channel 2
    EXPECT_EQ(pit.read(0x42), 0x30);
    EXPECT_EQ(pit.read(0x42), 500 & 0xff);
    EXPECT_EQ(pit.read(0x42), 500 >> 8);
    clock.ns = ticks(501);
    pit.write(0x43, 0xe8);
    EXPECT_EQ(pit.read(0x42), 0xb0);  // OUT is high
}

TEST_F(PitTest, status_shows_a_count_not_loaded) {
    pit.write(0x43, 0x34);
    pit.write(0x43, 0xe2);
    EXPECT_EQ(pit.read(0x40), 0x80 | 0x40 | 0x34);
}

TEST_F(PitTest, bcd_counting) {
    pit.write(0x43, 0x35);
    pit.write(0x40, 0x00);
    pit.write(0x40, 0x10);  // 1000
    clock.ns = ticks(1);
    EXPECT_EQ(latched(0), 0x0999U);
    pit.write(0x43, 0x35);
    pit.write(0x40, 0x00);
    pit.write(0x40, 0x00);  // 10000
    clock.ns = pit.next_deadline();
    EXPECT_EQ(latched(0), 0x0000U);
}

TEST_F(PitTest, byte_access_modes) {
    pit.write(0x43, 0x14);  // low byte only
    pit.write(0x40, 200);
    EXPECT_EQ(pit.next_deadline(), ticks(200));
    EXPECT_EQ(pit.read(0x40), 200);
    pit.write(0x43, 0x24);  // high byte only
    pit.write(0x40, 2);
    EXPECT_EQ(pit.read(0x40), 2);
}

TEST_F(PitTest, channel_2_calibration_as_linux_does_it) {
    // Gate off, mode 0, count, gate on: port 0x61 bit 5 rises when the count has passed.
    pit.write_speaker(0);
    program(2, 0, 59'659);
    clock.ns += 5'000'000;
    EXPECT_EQ(pit.read_speaker() & 0x20, 0);  // does not count without its gate
    pit.write_speaker(1);
    const auto start = clock.ns;
    clock.ns = start + ticks(59'659) - 1000;
    EXPECT_EQ(pit.read_speaker() & 0x20, 0);
    clock.ns = start + ticks(59'659) + 1000;
    EXPECT_EQ(pit.read_speaker() & 0x20, 0x20);
    EXPECT_EQ(pit.next_deadline(), no_deadline);  // and interrupts nobody
}

TEST_F(PitTest, gate_suspends_mode_0) {
    pit.write_speaker(1);
    program(2, 0, 1000);
    clock.ns = ticks(400);
    pit.write_speaker(0);
    clock.ns = ticks(5000);
    EXPECT_EQ(latched(2), 600U);
    pit.write_speaker(1);
    clock.ns = ticks(5100);
    EXPECT_NEAR(latched(2), 500U, 1);
}

TEST_F(PitTest, refresh_bit_toggles) {
    const auto first = pit.read_speaker() & 0x10;
    clock.ns += 15'086;
    EXPECT_NE(pit.read_speaker() & 0x10, first);
}

TEST_F(PitTest, speaker_keeps_two_bits) {
    pit.write_speaker(0xff);
    EXPECT_EQ(pit.read_speaker() & 0x0f, 0x03);
    EXPECT_EQ(pit.read(0x43), 0xff);
}

}  // namespace
}  // namespace margay::vmm
