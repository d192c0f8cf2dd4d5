#include "servers/pci/lines.hpp"

#include "model.hpp"

namespace margay::pci {
namespace {

struct PciLines : testing::Test {
    PciLines() {
        machine.add(0, 31, 0, 0x29188086, 0x060100).set(0x2c, 0x11001af4, 4);
        add(0, 4, 1), add(0, 5, 1), add(0, 24, 2), add(0, 25, 1), add(0, 30, 4), add(0, 6, 0);
        constexpr unsigned root_port = 4;
        machine.bridge(0, 8, 1, 1).express(root_port, false);
        add(1, 0, 1);
        machine.bridge(0, 10, 2, 2);
        add(2, 7, 2);
    }
    void add(std::uint8_t bus, std::uint8_t device, std::uint8_t pin) {
        machine.add(bus, device, 0, 0x10d38086).set(reg::interrupt_pin, pin, 1);
    }
    unsigned line(std::uint8_t bus, std::uint8_t device) {
        topology.scan(machine);
        return line_of(machine, topology, topology.find({bus, device, 0}));
    }
    model::Machine machine;
    Topology topology;
};

TEST_F(PciLines, OnTheRootBus) {
    EXPECT_EQ(line(0, 4), 20u);
    EXPECT_EQ(line(0, 5), 21u);
    EXPECT_EQ(line(0, 24), 21u);
    EXPECT_EQ(line(0, 25), 16u);
    EXPECT_EQ(line(0, 30), 23u);
    EXPECT_EQ(line(0, 6), 0u) << "it has no pin";
    add(0, 6, 5);
    EXPECT_EQ(line(0, 6), 0u) << "there is no such pin";
}

TEST_F(PciLines, BehindBridges) {
    EXPECT_EQ(line(1, 0), 20u);
    EXPECT_EQ(line(2, 7), 22u) << "INTB of device 7 is INTA of device 10";
}

TEST_F(PciLines, OtherMachines) {
    machine.at({0, 31, 0}).set(0x2c, 0x12345678, 4);
    EXPECT_EQ(line(0, 4), 0u);
    machine.add(0, 31, 0, 0x1234'8086, 0x060100).set(0x2c, 0x11001af4, 4);
    EXPECT_EQ(line(0, 4), 0u);
}

}  // namespace
}  // namespace margay::pci
