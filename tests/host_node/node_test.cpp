// The node starts, runs a guest and ends.
#include "tests/host_node/node.hpp"

#include <gtest/gtest.h>

namespace margay::host_node {
namespace {

std::string manifest(std::string_view more = {}) {
    return R"({"vms": [{"name": "g", "memory_mib": 4, "kernel": "kernel", "core": 0)" +
           std::string{more} + R"(}], "test_exit_port": 244})";
}

TEST(Node, RunsAGuestToItsEnd) {
    GuestScript guest;
    guest.say("hello\n").power_off();
    Node node{{.manifest = manifest(), .guests = {{"kernel", &guest}}}};
    EXPECT_TRUE(node.run());
    EXPECT_TRUE(node.ended_well());
    EXPECT_EQ(node.terminal.sent, "hello\n");
    EXPECT_NE(node.logs.sent.find("guest g powered off"), std::string::npos) << node.logs.sent;
}

}  // namespace
}  // namespace margay::host_node
