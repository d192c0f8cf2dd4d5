// A device-state region with any content, found by a VMM.
//
// Input: pending sequence number (1), then {offset (2), length (1), bytes} to be written over a good region;
// offsets reach header, directory, fields and slots of the active half.
#include "tests/fuzz/input.hpp"

#include "servers/vmm/board.hpp"
#include "servers/vmm/state/attach.hpp"
#include "servers/vmm/vm_check.hpp"
#include "servers/vmm/vm_layout.hpp"

#include <memory>

using namespace margay;
using namespace margay::vmm;
using margay::fuzz::Input;
using margay::fuzz::require;

namespace {

struct Ram final : GuestMemory {
    std::span<std::byte> window(std::uint64_t gpa, std::size_t length) override {
        if (gpa > sizeof(bytes) || length > sizeof(bytes) - gpa) {
            return {};
        }
        return {bytes + gpa, length};
    }
    std::byte bytes[0x1000] = {};
};

struct Defaults final : StateDefaults {
    void reset(RegionHalf& half) override {
        const BoardConfig config{2'000'000, 0, 0, 40, 1, 0, 1, 0};
        Board::reset(vm_state(half).board, config,
                     [](std::uint32_t, std::uint32_t) { return CpuidResult{}; });
        Board::reset(vm_state(half).cpu, config, 0);
    }
    Refusal check(const RegionHalf& half, std::span<const ExitNumbers> exits) override {
        return check_values(vm_state(const_cast<RegionHalf&>(half)), exits);
    }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input{data, size};
    Ram ram;
    Defaults defaults;
    const auto region = std::make_unique<Region>();
    create(*region, vm_layout(), defaults);
    const std::uint64_t pending = input.take<std::uint8_t>();
    while (!input.empty()) {
        const auto offset = input.take<std::uint16_t>() % (sizeof(Region) / 2);
        const auto bytes = input.take_bytes(input.take<std::uint8_t>());
        std::memcpy(reinterpret_cast<std::byte*>(region.get()) + offset, bytes.data(),
                    std::min(bytes.size(), sizeof(Region) - offset));
    }
    const auto before = std::make_unique<Region>(*region);
    const auto first = attach(*region, vm_layout(), defaults, pending, ram);
    if (first.finding == Finding::refused) {
        require(static_cast<bool>(first.why), "a refusal has a reason");
        require(inspect(*before, vm_layout()).finding != Finding::refused ||
                    std::memcmp(before.get(), region.get(), sizeof(Region)) == 0,
                "what is refused for its structure is not touched");
    } else if (first.finding != Finding::blank) {
        const auto second = attach(*region, vm_layout(), defaults, pending, ram);
        require(second.finding == Finding::same && !second.rolled_back,
                "after attaching there is nothing left to do");
    }
    return 0;
}
