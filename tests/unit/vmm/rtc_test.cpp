#include "servers/vmm/devices/rtc.hpp"
#include "servers/vmm/devices/rtc_calendar.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

#include <ctime>

namespace margay::vmm {
namespace {

constexpr std::uint64_t second = 1'000'000'000;
constexpr std::uint64_t epoch = 1'709'251'195;  // 2024-02-29 23:59:55 UTC, a Thursday

class RtcTest : public ::testing::Test {
  protected:
    RtcTest() { Rtc::reset(state, epoch); }

    std::uint8_t read(std::uint8_t index) {
        rtc.write(0x70, index);
        return rtc.read(0x71);
    }
    void write(std::uint8_t index, std::uint8_t value) {
        rtc.write(0x70, index);
        rtc.write(0x71, value);
    }
    void at(std::uint64_t ns) {
        clock.ns = ns;
        rtc.expire(ns);
    }

    test::OwnSlot<RtcState> own;
    RtcState& state = own.slot.live;
    test::FakeClock clock;
    test::FakeLines lines;
    Rtc rtc{own.journaled(), clock, lines};
};

TEST(RtcCalendar, agrees_with_the_c_library) {
    for (std::int64_t day = -200'000; day < 200'000; day += 97) {
        const std::time_t time = day * 86'400;
        std::tm tm{};
        gmtime_r(&time, &tm);
        const auto date = date_from_days(day);
        ASSERT_EQ(date.year, tm.tm_year + 1900);
        ASSERT_EQ(date.month, static_cast<unsigned>(tm.tm_mon + 1));
        ASSERT_EQ(date.day, static_cast<unsigned>(tm.tm_mday));
        ASSERT_EQ(weekday_from_days(day), static_cast<unsigned>(tm.tm_wday + 1));
        ASSERT_EQ(days_from_date(date), day);
    }
}

TEST_F(RtcTest, date_in_bcd) {
    EXPECT_EQ(read(0), 0x55);
    EXPECT_EQ(read(2), 0x59);
    EXPECT_EQ(read(4), 0x23);
    EXPECT_EQ(read(6), 5);  // Thursday
    EXPECT_EQ(read(7), 0x29);
    EXPECT_EQ(read(8), 0x02);
    EXPECT_EQ(read(9), 0x24);
    EXPECT_EQ(read(0x32), 0x20);
}

TEST_F(RtcTest, rolls_over_the_leap_day) {
    clock.ns = 5 * second;
    EXPECT_EQ(read(0), 0x00);
    EXPECT_EQ(read(4), 0x00);
    EXPECT_EQ(read(7), 0x01);
    EXPECT_EQ(read(8), 0x03);
}

TEST_F(RtcTest, binary_and_twelve_hours) {
    write(0x0b, 0x06);
    EXPECT_EQ(read(2), 59);
    EXPECT_EQ(read(4), 23);
    write(0x0b, 0x00);
    EXPECT_EQ(read(4), 0x91);  // 11 pm
    clock.ns = 5 * second;
    EXPECT_EQ(read(4), 0x12);  // midnight
    clock.ns += 12 * 3600 * second;
    EXPECT_EQ(read(4), 0x92);  // noon
}

TEST_F(RtcTest, setting_the_clock) {
    write(0x0b, 0x82);
    write(0, 0x01);
    write(2, 0x02);
    write(4, 0x03);
    write(7, 0x04);
    write(8, 0x05);
    write(9, 0x99);
    write(0x32, 0x19);
    clock.ns = 100 * second;  // stands still
    EXPECT_EQ(read(0), 0x01);
    write(0x0b, 0x02);
    clock.ns += second;
    EXPECT_EQ(read(0), 0x02);
    EXPECT_EQ(read(4), 0x03);
    EXPECT_EQ(read(7), 0x04);
    EXPECT_EQ(read(9), 0x99);
    EXPECT_EQ(read(0x32), 0x19);
    EXPECT_EQ(read(6), 3);  // 1999-05-04, a Tuesday
}

TEST_F(RtcTest, update_in_progress_only_before_the_second) {
    EXPECT_EQ(read(0x0a), 0x26);
    clock.ns = second - 245'000;
    EXPECT_EQ(read(0x0a), 0x26);
    clock.ns = second - 244'000;
    EXPECT_EQ(read(0x0a), 0xa6);
    clock.ns = second;
    EXPECT_EQ(read(0x0a), 0x26);
}

TEST_F(RtcTest, no_deadline_without_interrupts) { EXPECT_EQ(rtc.next_deadline(), no_deadline); }

TEST_F(RtcTest, update_interrupt) {
    clock.ns = 123;
    write(0x0b, 0x12);
    EXPECT_EQ(rtc.next_deadline(), second);
    at(second);
    EXPECT_TRUE(lines.level[8]);
    EXPECT_EQ(read(0x0c), 0x90 | 0x40);  // the periodic flag runs too
    EXPECT_FALSE(lines.level[8]);
    EXPECT_EQ(read(0x0c), 0x00);
    EXPECT_EQ(rtc.next_deadline(), 2 * second);
}

TEST_F(RtcTest, no_flood_while_nobody_reads_register_c) {
    write(0x0b, 0x42);
    at(rtc.next_deadline());
    EXPECT_TRUE(lines.level[8]);
    EXPECT_EQ(rtc.next_deadline(), no_deadline);
}

TEST_F(RtcTest, periodic_rate) {
    write(0x0a, 0x26);  // 1024 Hz
    write(0x0b, 0x42);
    EXPECT_EQ(rtc.next_deadline(), 976'563U);
    at(976'563);
    EXPECT_EQ(read(0x0c), 0xc0);
    EXPECT_EQ(rtc.next_deadline(), 2 * 976'563U);
    write(0x0a, 0x20);  // rate 0: none
    EXPECT_EQ(rtc.next_deadline(), no_deadline);
}

TEST_F(RtcTest, alarm_at_a_time) {
    write(1, 0x00);
    write(3, 0x00);
    write(5, 0x00);
    write(0x0b, 0x22);
    EXPECT_EQ(rtc.next_deadline(), 5 * second);  // midnight
    at(5 * second);
    EXPECT_TRUE(lines.level[8]);
    EXPECT_EQ(read(0x0c) & 0xa0, 0xa0);
    EXPECT_EQ(rtc.next_deadline(), (5 + 86'400) * second);
}

TEST_F(RtcTest, alarm_wild_cards_and_impossible_times) {
    write(1, 0xff);
    write(3, 0xff);
    write(5, 0xff);
    write(0x0b, 0x22);
    EXPECT_EQ(rtc.next_deadline(), second);
    write(1, 0x00);
    EXPECT_EQ(rtc.next_deadline(), 5 * second);
    write(1, 0x7a);  // no such second
    EXPECT_EQ(rtc.next_deadline(), no_deadline);
    write(1, 0x54);
    EXPECT_EQ(rtc.next_deadline(), 59 * second);
}

TEST_F(RtcTest, every_alarm_value_terminates) {
    write(0x0b, 0x22);
    for (unsigned value = 0; value < 0xc0; ++value) {
        for (const std::uint8_t index : {1, 3, 5}) {
            write(index, static_cast<std::uint8_t>(value));
        }
    }
}

TEST_F(RtcTest, garbage_dates_are_survived) {
    for (unsigned value = 0; value < 256; value += 5) {
        write(0x0b, 0x82);
        for (const std::uint8_t index : {0, 2, 4, 6, 7, 8, 9, 0x32}) {
            write(index, static_cast<std::uint8_t>(value));
        }
        write(0x0b, 0x02);
        for (unsigned index = 0; index < 128; ++index) {
            static_cast<void>(read(static_cast<std::uint8_t>(index)));
        }
    }
}

TEST_F(RtcTest, cmos_ram_and_read_only_registers) {
    write(0x20, 0xa5);
    write(0x7f, 0x5a);
    EXPECT_EQ(read(0x20), 0xa5);
    EXPECT_EQ(read(0xff), 0x5a);  // bit 7 is the NMI mask
    write(0x0d, 0x00);
    EXPECT_EQ(read(0x0d), 0x80);
    EXPECT_EQ(rtc.read(0x70), 0xff);
}

}  // namespace
}  // namespace margay::vmm
