// Services that die under a node that works: guests go on, nothing that was said is lost.
#include "tests/host_node/node.hpp"
#include "tests/host_node/scripts.hpp"
#include "ukernel/object/domain.hpp"

#include <gtest/gtest.h>

#include <random>

namespace margay::host_node {
namespace {

std::string manifest(const std::string& node = {}) {
    return R"({"vms": [{"name": "g", "memory_mib": 4, "kernel": "kernel"}], "test_exit_port": 244)" +
           (node.empty() ? "" : ", " + node) + "}";
}

bool is_of(const Thread& t, std::string_view name) { return t.domain->name == name; }

// At each of its system calls, in a node of its own.
TEST(ConsoleDeath, AtEverySystemCall) {
    const GuestScript guest = counting(2);
    unsigned nodes = 0;
    for (bool died = true; died && !testing::Test::HasFailure(); ++nodes) {
        died = false;
        unsigned calls = 0;
        Node node{{.manifest = manifest(), .guests = {{"kernel", &guest}}}};
        node.cores.is_doomed = [&](const Thread& t) {
            if (!is_of(t, "console") || died || calls++ != nodes) return false;
            return died = true;
        };
        EXPECT_TRUE(node.run()) << "death at system call " << nodes << "\n" << node.logs.sent;
        EXPECT_TRUE(node.ended_well()) << nodes << "\n" << node.logs.sent;
    }
    EXPECT_GT(nodes, 100u);
}

}  // namespace
}  // namespace margay::host_node
