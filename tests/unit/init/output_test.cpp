#include "servers/init/control/output.hpp"

#include <gtest/gtest.h>

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
            "{\"id\":" + id + ",\"ok\":false,\"error\":\"there is no domain 'none'; try list\"}\n";
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

}  // namespace
}  // namespace margay::init
