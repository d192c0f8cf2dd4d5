#include "servers/vmm/vm_layout.hpp"

namespace margay::vmm {

namespace {

constexpr auto sections = std::to_array<PlacedSection>({
    MARGAY_SECTION(VmState, board.config), MARGAY_SECTION(VmState, board.time),
        MARGAY_SECTION(VmState, vcpu), MARGAY_SECTION(VmState, console),
        MARGAY_SECTION(VmState, board.offer), MARGAY_SECTION(VmState, board.local_apic),
        MARGAY_SECTION(VmState, board.pic), MARGAY_SECTION(VmState, board.io_apic),
        MARGAY_SECTION(VmState, board.uart), MARGAY_SECTION(VmState, board.pit),
        MARGAY_SECTION(VmState, board.rtc), MARGAY_SECTION(VmState, board.acpi_pm),
        MARGAY_SECTION(VmState, board.pci_host), MARGAY_SECTION(VmState, board.msr),
        MARGAY_SECTION(VmState, board.kvm_clock), MARGAY_SECTION(VmState, board.cpuid),
#if MARGAY_NEXT_STATE
        MARGAY_SECTION(VmState, statistics),
#endif
});

constexpr std::size_t field_count = count_fields(sections);
constexpr auto layout = make_layout<field_count>(sections, sizeof(VmState));
static_assert(layout.used <= half_bytes / 2, "the rest is room for what is kept for other builds");

/// A slot that is not listed above would be state that is neither rolled back nor converted.
constexpr std::size_t listed() {
    std::size_t bytes = 0;
    for (const auto& section : layout.section) {
        bytes += slot_bytes(section.size);
    }
    return bytes;
}
static_assert(listed() == sizeof(VmState));

}  // namespace

Layout vm_layout() noexcept { return layout; }

VmState& vm_state(RegionHalf& half) noexcept {
    return *reinterpret_cast<VmState*>(half.at(slots_at<field_count>()));
}

}  // namespace margay::vmm
