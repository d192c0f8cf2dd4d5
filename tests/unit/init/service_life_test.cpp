#include "servers/init/life/service_life.hpp"

#include <gtest/gtest.h>

namespace margay::init {
namespace {

using State = ServiceLife::State;

ServiceLife life() {
    ServiceLife l;
    l.configure({.count = 3, .window = 100, .pause = 50});
    l.started();
    return l;
}

void die(ServiceLife& l, std::uint64_t now, bool worked = true, bool killed = false) {
    l.started();
    l.died(worked, killed, now);
}

TEST(ServiceLife, ADeathIsAnsweredAtOnce) {
    ServiceLife l = life();
    EXPECT_EQ(l.state(), State::running);
    EXPECT_EQ(l.next_look(), ~0ull);
    die(l, 5);
    EXPECT_EQ(l.state(), State::loading);
    EXPECT_FALSE(l.begin(5)) << "it has begun";
    EXPECT_EQ(l.deaths(), 1u);
}

TEST(ServiceLife, TooManyDeathsMakeAPauseAndNoEnd) {
    ServiceLife l = life();
    for (std::uint64_t round = 0; round < 4; ++round) {
        const std::uint64_t now = 1000 * round;
        for (std::uint64_t n = 0; n < 3; ++n) {
            die(l, now + n);
            EXPECT_EQ(l.state(), State::loading);
        }
        die(l, now + 3);
        EXPECT_EQ(l.state(), State::pausing);
        EXPECT_EQ(l.next_look(), now + 53);
        EXPECT_FALSE(l.begin(now + 52));
        EXPECT_EQ(l.state(), State::pausing);
        EXPECT_TRUE(l.begin(now + 53));
        EXPECT_EQ(l.state(), State::loading);
        EXPECT_EQ(l.next_look(), ~0ull);
    }
}

TEST(ServiceLife, TheWindowForgets) {
    ServiceLife l = life();
    for (std::uint64_t n = 0; n < 30; ++n) {
        die(l, 40 * n);
        EXPECT_EQ(l.state(), State::loading) << n;
    }
}

TEST(ServiceLife, DeathsThatInitCausesDoNotCount) {
    ServiceLife l = life();
    for (std::uint64_t n = 0; n < 30; ++n) {
        die(l, n, false, true);
        EXPECT_EQ(l.state(), State::loading) << n;
        EXPECT_FALSE(l.begins_anew());
    }
    EXPECT_EQ(l.deaths(), 30u);
}

TEST(ServiceLife, ADeathMayWeighMore) {
    ServiceLife l = life();
    l.died(true, false, 0, 2);
    EXPECT_EQ(l.state(), State::loading);
    l.started();
    l.died(true, false, 1, 2);
    EXPECT_EQ(l.state(), State::pausing);
    EXPECT_EQ(l.deaths(), 2u);
}

// What cannot be made is tried as often as what dies.
TEST(ServiceLife, AFailedStartIsADeath) {
    ServiceLife l = life();
    for (std::uint64_t n = 0; n < 3; ++n) l.died(false, false, n);
    EXPECT_EQ(l.state(), State::loading);
    l.died(false, false, 3);
    EXPECT_EQ(l.state(), State::pausing);
}

TEST(ServiceLife, WhatKillsTwoBeforeTheyWorkIsGivenToNoThird) {
    ServiceLife l = life();
    die(l, 0, false);
    EXPECT_FALSE(l.begins_anew());
    die(l, 200, true);
    die(l, 400, false);
    EXPECT_FALSE(l.begins_anew());
    die(l, 600, false);
    EXPECT_TRUE(l.begins_anew());
    die(l, 800, true);
    EXPECT_FALSE(l.begins_anew());
}

}  // namespace
}  // namespace margay::init
