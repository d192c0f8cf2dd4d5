// The state of PCI functions in the region: there only where the VM has some, and refused when its values cannot be.
#include "proto/exit.hpp"
#include "servers/vmm/board.hpp"
#include "servers/vmm/state/attach.hpp"
#include "servers/vmm/state/half.hpp"
#include "servers/vmm/vm_check.hpp"
#include "servers/vmm/vm_layout.hpp"
#include "tests/unit/vmm/fakes.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace margay::vmm {
namespace {

struct NoRam final : GuestMemory {
    std::span<std::byte> window(std::uint64_t, std::size_t) override { return {}; }
};

struct NewVm final : StateDefaults {
    void reset(RegionHalf& half) override {
        VmState& s = vm_state(half);
        const BoardConfig config{2'000'000, 0, 0, 40, 1, 0, 1, 0};
        Board::reset(s.board, config, test::generous_cpuid);
        Board::reset(s.cpu, config, 0);
        s.cpu.vcpu.live = {};
        s.cpu.vcpu.live.offered_vector = no_vector;
    }
    Refusal check(const RegionHalf& half, std::span<const ExitNumbers> exits) override {
        return check_values(vm_state(const_cast<RegionHalf&>(half)), exits, true);
    }
};

class FunctionState : public ::testing::Test {
  protected:
    VmState& state() { return vm_state(region->active()); }
    Attachment take_over(const Layout& layout) {
        return attach(*region, layout, defaults, 0, memory);
    }

    std::unique_ptr<Region> region = std::make_unique<Region>();
    NewVm defaults;
    NoRam memory;
};

// A build from before there were functions: its layout without their sections.
TEST_F(FunctionState, older_builds_take_vms_that_have_none) {
    const Layout old = vm_layout(false);
    EXPECT_EQ(vm_layout(true).sections.size(), old.sections.size() + 2);
    create(*region, vm_layout(false), defaults);
    EXPECT_EQ(inspect(*region, old).finding, Finding::same);
    create(*region, vm_layout(true), defaults);
    const Inspection with = inspect(*region, old);
    EXPECT_EQ(with.finding, Finding::refused);
    EXPECT_NE(std::string{with.why.text()}.find("pci_functions"), std::string::npos)
        << with.why.text();
}

TEST_F(FunctionState, a_vm_that_gets_or_loses_functions) {
    create(*region, vm_layout(false), defaults);
    EXPECT_EQ(take_over(vm_layout(true)).finding, Finding::foreign);
    EXPECT_EQ(state().board.msix_table.live.entry[47].control, 1U);
    state().board.pci_functions.live.function[3].command = 6;
    EXPECT_EQ(take_over(vm_layout(true)).finding, Finding::same);
    EXPECT_EQ(state().board.pci_functions.live.function[3].command, 6U);
    EXPECT_EQ(take_over(vm_layout(false)).finding, Finding::refused);
}

TEST_F(FunctionState, impossible_values) {
    create(*region, vm_layout(true), defaults);
    const auto is_refused = [&](auto change) {
        const auto good = std::make_unique<Region>(*region);
        change(state());
        const bool refused = take_over(vm_layout(true)).finding == Finding::refused;
        *region = *good;
        return refused;
    };
    EXPECT_FALSE(is_refused([](VmState&) {}));
    EXPECT_TRUE(is_refused([](VmState& s) { s.board.pci_functions.live.function[2].power = 1; }));
    EXPECT_TRUE(is_refused(
        [](VmState& s) { s.board.pci_functions.live.function[0].msix_control = 0x2000; }));
    EXPECT_TRUE(is_refused(
        [](VmState& s) { s.board.pci_functions.live.function[1].device_control = 0x8000; }));
    EXPECT_TRUE(is_refused([](VmState& s) { s.board.msix_table.live.pending = 1ULL << 48; }));
    EXPECT_TRUE(is_refused([](VmState& s) { s.board.msix_table.live.entry[9].control = 2; }));
    EXPECT_TRUE(is_refused([](VmState& s) { s.board.msix_table.live.entry[9].address = 1; }));
    EXPECT_TRUE(is_refused([](VmState& s) { s.board.pci_functions.live.msi[1].is_on = 2; }));
    for (const std::uint8_t log : {5, 32, 64, 255})
        EXPECT_TRUE(is_refused([log](VmState& s) {
            s.board.pci_functions.live.msi[3].log_messages = log;
        })) << unsigned{log};
    EXPECT_TRUE(is_refused([](VmState& s) { s.board.pci_functions.live.msi[0].address = 2; }));
    EXPECT_TRUE(
        is_refused([](VmState& s) { s.board.pci_functions.live.function[2].line_fired = 2; }));
    EXPECT_TRUE(is_refused([](VmState& s) { s.cpu.vcpu.live.waits_for_function = 5; }));
}

}  // namespace
}  // namespace margay::vmm
