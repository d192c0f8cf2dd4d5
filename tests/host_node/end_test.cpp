// The end of a guest in the moment in which its VMM dies: a thread of it answers the exit that ends the guest while
// another one is dead already, and the supervisor has a successor in hand.
#include <gtest/gtest.h>

#include "tests/host_node/node.hpp"
#include "tests/host_node/scripts.hpp"
#include "tests/host_node/shared_memory.hpp"
#include "ukernel/object/vcpu.hpp"

namespace margay::host_node {
namespace {

// Whether the guest's last answer still came when init and the servers had executed so many basic blocks after the death.
bool ends_behind(std::uint64_t blocks) {
    GuestScript guest;
    guest.power_off();
    Node node{
        {.manifest =
             R"({"vms": [{"name": "g", "memory_mib": 4, "kernel": "k", "core": 0, "standby": true}],
                               "test_exit_port": 244})",
         .guests = {{"k", &guest}}}};
    Vcpu* ends = nullptr;
    std::uint64_t number = 0;
    node.fate = [&](const VmmMoment& m) {
        const SharedMemory shared = SharedMemory::of(*Cores::this_thread().domain);
        const auto& control = *reinterpret_cast<const VmControl*>(shared.control.data());
        if (!m.after || number != 0 || control.outcome.load() != VmOutcome::powered_off)
            return VmmFate::go_on;
        ends = static_cast<Vcpu*>(Cores::this_thread().caller);
        number = m.sequence;
        return VmmFate::die;
    };
    bool came = false;
    node.on_block([&] {
        if (ends == nullptr || blocks-- != 0) return;
        // Unless a successor has answered.
        came = ends->state != ContextState::dead && ends->has_pending() && ends->sequence == number;
        if (came) ends->stop(nullptr);
        ends = nullptr;
    });
    EXPECT_TRUE(node.run()) << node.logs.sent;
    EXPECT_TRUE(node.ended_well()) << node.logs.sent;
    EXPECT_NE(node.logs.sent.find("guest g powered off"), std::string::npos) << node.logs.sent;
    return came;
}

TEST(GuestEnd, AnAnswerBesideADeathCounts) {
    std::uint64_t blocks = 0;
    while (ends_behind(blocks) && !HasFailure()) blocks += 1 + blocks / 50;
    std::printf("until %ju blocks behind the death\n", static_cast<std::uintmax_t>(blocks));
    EXPECT_GT(blocks, 10u);
}

}  // namespace
}  // namespace margay::host_node
