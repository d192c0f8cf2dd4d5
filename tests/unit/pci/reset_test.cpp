#include "servers/pci/reset.hpp"

#include "model.hpp"

namespace margay::pci {
namespace {

constexpr std::uint64_t per_ms = 1000;
constexpr Address nvme{0, 2, 0}, port{0, 4, 0}, behind{1, 0, 0}, plain{0, 3, 0};

// As a device does it: registers are lost, and it cannot be seen for a while.
class Device final : public Config {
  public:
    explicit Device(model::Machine& m) : machine{m} {}
    bool has_extended() const override { return machine.has_extended(); }
    std::uint32_t read(Address a, unsigned offset) override {
        if (a == gone && now < back) return ~0u;
        return machine.read(a, offset);
    }
    void write(Address a, unsigned offset, std::uint32_t value) override {
        machine.write(a, offset, value);
        if (a == nvme && offset == 0x88 && (value & 1 << 15) != 0) lose(nvme);
        if (a == port && offset == reg::interrupt_line) {
            const bool on = (value & 1 << 22) != 0;
            if (in_reset && !on) lose(behind);
            in_reset = on;
        }
    }
    void lose(Address a) {
        ++resets;
        model::Function& f = machine.at(a);
        f.set(reg::command, 0, 2).set(reg::first_bar, 0, 4).set(0x0c, 0, 2);
        f.set(0x88, 0x10, 2).set(0x90, 0, 2).set(0xa8, 0, 2);
        gone = a;
        back = now + takes * per_ms;
    }

    model::Machine& machine;
    Address gone{255, 0, 0};
    std::uint64_t now = 0, back = 0, takes = 50;
    unsigned resets = 0;
    bool in_reset = false;
};

struct PciReset : testing::Test {
    void SetUp() override {
        model::Function& f = machine.add(0, 2, 0, 0x00101b36, 0x010802);
        f.bar(0, 0, 0xfe000000, 0x4000).express(0, true);
        f.capability(0x11, 0x60).set(0x62, 0x8001, 2);
        f.writable[0x63] = 0x80;
        f.capability(0x05, 0x70).set(0x72, 1, 2);
        f.writable[0x72] = 1;
        f.writable[reg::command + 1] = 4;
        // What firmware has tuned.
        f.set(0x0c, 0x4010, 2).set(0x88, 0x2850, 2).set(0x90, 0x0040, 2).set(0xa8, 0x0406, 2);
        for (const unsigned at : {0x0c, 0x0d, 0x88, 0x89, 0x90, 0x91, 0xa8, 0xa9})
            f.writable[at] = 0xff;
        machine.add(0, 3, 0, 0x10d38086);
        machine.bridge(0, 4, 1, 1).express(4, false);
        machine.at(port).writable[reg::bridge_control] = 0x40;
        machine.add(1, 0, 0, 0x10411af4).bar(0, 0, 0xfd000000, 0x1000).express(0, false);
        topology.scan(machine);
    }
    // To its end. Milliseconds that it took.
    std::uint64_t run(Address a) {
        state = {};
        const std::uint64_t begin = device.now;
        for (unsigned steps = 0; !state.is_over(); ++steps) {
            if (steps == 10'000) ADD_FAILURE() << "it does not end";
            if (steps == 10'000) break;
            go_on(state, device, topology, topology.find(a), device.now, per_ms);
            if (!state.is_over()) device.now = std::max(device.now + 1, state.due);
        }
        return (device.now - begin) / per_ms;
    }
    std::uint16_t command_of(Address a) { return machine.read16(a, reg::command); }

    model::Machine machine;
    Device device{machine};
    Topology topology;
    ResetState state;
};

TEST_F(PciReset, OfAFunction) {
    const std::uint64_t took = run(nvme);
    EXPECT_EQ(state.step, ResetState::Step::done);
    EXPECT_EQ(device.resets, 1u);
    EXPECT_GE(took, reset_time::function);
    EXPECT_EQ(machine.read(nvme, reg::first_bar), 0xfe000000u) << "its BAR is where it was";
    EXPECT_EQ(command_of(nvme) & command::bus_master, 0);
    EXPECT_EQ(machine.read16(nvme, 0x62) & 0x8000, 0) << "MSI-X is off";
    EXPECT_EQ(machine.read16(nvme, 0x72) & 1, 0) << "MSI is off";
    EXPECT_EQ(machine.at(nvme).status_writes, 0u);
    EXPECT_EQ(machine.read16(nvme, 0x88), 0x2850) << "the largest payload, among others";
    EXPECT_EQ(machine.read16(nvme, 0x90), 0x0040);
    EXPECT_EQ(machine.read16(nvme, 0xa8), 0x0406);
    EXPECT_EQ(machine.read16(nvme, 0x0c), 0x4010);
}

TEST_F(PciReset, OfABus) {
    const std::uint64_t took = run(behind);
    EXPECT_EQ(state.step, ResetState::Step::done);
    EXPECT_EQ(device.resets, 1u);
    EXPECT_FALSE(device.in_reset);
    EXPECT_GE(took, reset_time::hold + reset_time::bus);
    EXPECT_EQ(machine.read(behind, reg::first_bar), 0xfd000000u);
}

TEST_F(PciReset, WhereThereIsNoneItIsOnlyStill) {
    EXPECT_LT(run(plain), 2u);
    EXPECT_EQ(state.step, ResetState::Step::done);
    EXPECT_EQ(command_of(plain) & command::bus_master, 0);
    EXPECT_EQ(device.resets, 0u);
}

TEST_F(PciReset, OneThatDoesNotComeBack) {
    device.takes = 100'000;
    const std::uint64_t took = run(nvme);
    EXPECT_EQ(state.step, ResetState::Step::lost);
    EXPECT_GE(took, reset_time::function + reset_time::back);
    EXPECT_LT(took, 2 * (reset_time::function + reset_time::back));
}

TEST_F(PciReset, OneThatNeverDrains) {
    machine.at(nvme).bytes[0x8a] |= 1 << 5;  // transactions pending
    const std::uint64_t took = run(nvme);
    EXPECT_EQ(state.step, ResetState::Step::did_not_drain);
    EXPECT_GE(took, reset_time::drain);
    EXPECT_EQ(device.resets, 0u) << "nobody knows what it would still write";
}

TEST_F(PciReset, OutOfASleep) {
    machine.at(nvme).capability(0x01, 0x50).set(0x54, 3, 2);
    machine.at(nvme).writable[0x54] = 3;
    topology.scan(machine);
    EXPECT_GE(run(nvme), reset_time::wake + reset_time::function);
    EXPECT_EQ(machine.read(nvme, 0x54) & 3, 0u);
    EXPECT_EQ(state.step, ResetState::Step::done);
}

// Whoever goes on for a server that died takes the step again.
TEST_F(PciReset, AnyStepCanBeTakenTwice) {
    for (const Address a : {nvme, behind}) {
        state = {};
        auto last = ResetState::Step::done;
        for (unsigned steps = 0; !state.is_over() && steps < 10'000; ++steps) {
            if (state.step != last) {
                ResetState lost = state;
                last = state.step;
                go_on(lost, device, topology, topology.find(a), device.now, per_ms);
            }
            go_on(state, device, topology, topology.find(a), device.now, per_ms);
            device.now = std::max(device.now + 1, state.due);
        }
        EXPECT_EQ(state.step, ResetState::Step::done);
        EXPECT_FALSE(device.in_reset);
        EXPECT_NE(machine.read(a, reg::first_bar), 0u);
    }
}

}  // namespace
}  // namespace margay::pci
