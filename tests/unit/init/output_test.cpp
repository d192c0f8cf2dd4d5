#include "servers/init/control/output.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "servers/init/control/control_line.hpp"
#include "servers/init/control/node_console.hpp"
#include "tests/unit/init/fake_operations.hpp"

namespace margay::init {
namespace {

struct FakeChannel {
    std::string input, output;
    std::size_t next = 0, room = 0;
    unsigned flushes = 0;

    bool put(char c) {
        if (room == 0) return false;
        --room;
        output += c;
        return true;
    }
    bool get(char& c) {
        if (next == input.size()) return false;
        c = input[next++];
        return true;
    }
    void flush() { ++flushes; }
};

// However little room there is, replies come out whole, in order, and no request is lost.
TEST(Exchange, NothingIsLostInASmallRing) {
    FakeOperations operations;
    const auto line = std::make_unique<ControlLine>(operations);
    FakeChannel channel;
    std::string wanted;
    for (int i = 0; i < 50; ++i) {
        const std::string id = std::to_string(i);
        channel.input += "{\"id\": " + id + ", \"command\": \"start\", \"vm\": \"none\"}\n";
        wanted +=
            "{\"id\":" + id +
            ",\"ok\":false,\"error\":\"there is no VM 'none'; try list\",\"kind\":\"not found\"}\n";
    }
    for (int i = 0; channel.output.size() < wanted.size() && i < 10000; ++i) {
        channel.room = 7;
        exchange(channel, *line);
    }
    EXPECT_EQ(channel.output, wanted);
}

TEST(Exchange, InputWaitsWhileOutputDoes) {
    FakeOperations operations;
    const auto console = std::make_unique<NodeConsole>(operations);
    FakeChannel channel;
    channel.input = "list\rlist\r";
    exchange(channel, *console);
    EXPECT_EQ(channel.next, 1u);
    channel.room = 100'000;
    exchange(channel, *console);
    EXPECT_EQ(channel.next, channel.input.size());
    EXPECT_TRUE(channel.output.ends_with("margay> "));
    EXPECT_EQ(channel.flushes, 2u);
}

TEST(Exchange, WhatGoesOnIsAnsweredWhenItIsDone) {
    FakeOperations operations;
    const auto line = std::make_unique<ControlLine>(operations);
    FakeChannel channel;
    channel.room = 100'000;
    channel.input = R"({"id": 1, "command": "save", "vm": "linux"})"
                    "\n"
                    R"({"id": 2, "command": "help", "topic": "list"})"
                    "\n";
    operations.goes_on = 3;
    exchange(channel, *line);
    EXPECT_TRUE(channel.output.starts_with("{\"id\":2,")) << channel.output;
    channel.output.clear();
    exchange(channel, *line);
    EXPECT_EQ(channel.output, "");
    operations.refusal = "it broke";
    exchange(channel, *line);
    exchange(channel, *line);
    EXPECT_EQ(channel.output, R"({"id":1,"ok":false,"error":"it broke","kind":"failed"})"
                              "\n");
}

TEST(Exchange, AFullTableOfRequestsMakesTheNextWait) {
    FakeOperations operations;
    const auto line = std::make_unique<ControlLine>(operations);
    FakeChannel channel;
    channel.room = 1'000'000;
    for (int i = 0; i < 40; ++i)
        channel.input += R"({"command": "save", "vm": "linux"})"
                         "\n";
    operations.goes_on = 1'000'000;
    exchange(channel, *line);
    EXPECT_TRUE(line->is_busy());
    EXPECT_LT(channel.next, channel.input.size());
    operations.goes_on = 0;
    for (int i = 0; i < 40; ++i) exchange(channel, *line);
    EXPECT_EQ(channel.next, channel.input.size());
    EXPECT_EQ(std::count(channel.output.begin(), channel.output.end(), '\n'), 40);
}

TEST(Exchange, TheConsoleWaitsForItsCommand) {
    FakeOperations operations;
    const auto console = std::make_unique<NodeConsole>(operations);
    FakeChannel channel;
    channel.room = 100'000;
    channel.input = "save linux\rhelp list\r";
    operations.goes_on = 2;
    exchange(channel, *console);
    EXPECT_EQ(channel.output, "save linux\r\n");
    exchange(channel, *console);
    EXPECT_EQ(channel.output, "save linux\r\n");
    exchange(channel, *console);
    EXPECT_TRUE(channel.output.starts_with("save linux\r\nVM 'linux' saved")) << channel.output;
    EXPECT_TRUE(channel.output.ends_with("margay> "));
    EXPECT_EQ(channel.next, channel.input.size());
}

}  // namespace
}  // namespace margay::init
