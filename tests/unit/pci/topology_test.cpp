#include "servers/pci/topology.hpp"

#include "model.hpp"

namespace margay::pci {
namespace {

constexpr unsigned root_port = 4;

struct PciTopology : testing::Test {
    model::Machine machine;
    Topology t;

    const Topology::Entry& at(std::uint8_t bus, std::uint8_t device, std::uint8_t function = 0) {
        const unsigned i = t.find({bus, device, function});
        EXPECT_LT(i, t.count());
        return t[i];
    }
    unsigned companions(std::uint8_t bus, std::uint8_t device, std::uint8_t function = 0) {
        unsigned n = 0;
        t.for_each_companion(t.find({bus, device, function}),
                             [&n](const Topology::Entry&) { ++n; });
        return n;
    }
};

// A q35 as QEMU builds it, with a device behind a root port.
TEST_F(PciTopology, AMachine) {
    machine.add(0, 0, 0, 0x29c08086, 0x060000);
    machine.add(0, 2, 0, 0x00101b36, 0x010802).express(0, true);
    machine.add(0, 3, 0, 0x10d38086).express(0, false);
    machine.bridge(0, 4, 1, 1).express(root_port, false).access_control(true);
    machine.add(1, 0, 0, 0x10411af4).express(0, false);
    machine.add(1, 1, 0, 0x10411af4);  // the same one again, as ports show it
    for (const std::uint8_t number : {0, 2, 3})
        machine.add(0, 31, number, 0x29188086, 0x060100).bytes[reg::header_type] = 0x80;
    t.scan(machine);
    EXPECT_EQ(t.count(), 8u);
    EXPECT_EQ(t.find({1, 1, 0}), t.count());
    EXPECT_EQ(t[at(1, 0).parent].function.address, (Address{0, 4, 0}));
    EXPECT_EQ(companions(0, 2), 0u);
    EXPECT_EQ(companions(0, 3), 0u);
    EXPECT_EQ(companions(1, 0), 0u) << "its port isolates";
    EXPECT_FALSE(at(1, 0).is_hidden) << "and leaves its requests their name";
    EXPECT_EQ(companions(0, 31, 2), 2u) << "one device, no access control";
    EXPECT_EQ(at(0, 2).reset, Reset::function);
    EXPECT_EQ(at(0, 3).reset, Reset::none);
    EXPECT_EQ(at(1, 0).reset, Reset::bus);
    EXPECT_EQ(at(0, 4).reset, Reset::none);
}

TEST_F(PciTopology, PortsThatDoNotIsolate) {
    machine.bridge(0, 4, 1, 1).express(root_port, false).access_control(false);
    machine.add(1, 0, 0, 0x10411af4).bytes[reg::header_type] = 0x80;
    machine.add(1, 0, 1, 0x10411af4);
    t.scan(machine);
    EXPECT_EQ(companions(1, 0), 2u);
    EXPECT_EQ(at(1, 0).reset, Reset::none) << "its neighbour would be reset as well";
    // It does, but its functions share a device.
    machine.at({0, 4, 0}).access_control(true);
    t.scan(machine);
    EXPECT_EQ(companions(1, 0), 1u);
    EXPECT_EQ(companions(0, 4), 0u);
}

TEST_F(PciTopology, WhatIsBehindAConventionalBridge) {
    machine.bridge(0, 4, 1, 3);
    machine.add(1, 5, 0, 0x11e81234);
    machine.bridge(1, 6, 2, 3);
    machine.add(2, 0, 0, 0x11e81234);
    machine.bridge(2, 1, 3, 3);
    machine.add(3, 31, 0, 0x11e81234);
    machine.add(0, 5, 0, 0x11e81234);
    t.scan(machine);
    EXPECT_EQ(t.count(), 7u);
    EXPECT_EQ(companions(3, 31), 5u) << "all that is behind the first bridge, and it";
    EXPECT_EQ(companions(0, 5), 0u);
    EXPECT_TRUE(at(1, 5).is_hidden && at(2, 0).is_hidden && at(3, 31).is_hidden);
    EXPECT_FALSE(at(0, 4).is_hidden || at(0, 5).is_hidden);
}

TEST_F(PciTopology, WhoseRequestsKeepTheirName) {
    constexpr unsigned to_pci = 7, up = 5, down = 6;
    machine.bridge(0, 4, 1, 4).express(root_port, false);
    machine.bridge(1, 0, 2, 4).express(up, false);
    machine.bridge(2, 0, 3, 3).express(down, false);
    machine.add(3, 0, 0, 0x10411af4).express(0, false);
    machine.bridge(2, 1, 4, 4).express(to_pci, false);
    machine.add(4, 3, 0, 0x11e81234);
    t.scan(machine);
    EXPECT_EQ(t.count(), 6u);
    EXPECT_FALSE(at(1, 0).is_hidden || at(2, 0).is_hidden || at(3, 0).is_hidden) << "a switch";
    EXPECT_TRUE(at(4, 3).is_hidden);
}

// Buses in a circle, twice the same, and numbers that cannot be.
TEST_F(PciTopology, BridgesThatLie) {
    machine.bridge(0, 1, 1, 255);
    machine.bridge(1, 0, 0, 255);
    machine.bridge(1, 1, 1, 255);
    machine.bridge(1, 2, 2, 1);
    machine.bridge(1, 3, 2, 255);
    machine.bridge(1, 4, 2, 255);
    machine.bridge(0, 2, 1, 1);
    machine.add(2, 0, 0, 0x11e81234);
    t.scan(machine);
    EXPECT_EQ(t.count(), 8u);
}

TEST_F(PciTopology, MoreThanThereIsRoomFor) {
    machine.bridge(0, 0, 1, 1);
    machine.bridge(0, 1, 2, 2);
    for (unsigned device = 0; device < 32; ++device)
        for (unsigned number = 0; number < 8; ++number)
            machine
                .add(1, static_cast<std::uint8_t>(device), static_cast<std::uint8_t>(number),
                     0x11e81234)
                .bytes[reg::header_type] = 0x80;
    t.scan(machine);
    EXPECT_EQ(t.count(), Topology::most);
    EXPECT_EQ(t.left_out(), 2u);
}

}  // namespace
}  // namespace margay::pci
