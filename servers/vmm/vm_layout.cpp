#include "servers/vmm/vm_layout.hpp"

namespace margay::vmm {

namespace {

constexpr auto sections = std::to_array<PlacedSection>({
    MARGAY_SECTION(VmState, board.config), MARGAY_SECTION(VmState, board.time),
        MARGAY_SECTION(VmState, cpu.vcpu), MARGAY_SECTION(VmState, console),
        MARGAY_SECTION(VmState, cpu.offer), MARGAY_SECTION(VmState, cpu.local_apic),
        MARGAY_SECTION(VmState, board.pic), MARGAY_SECTION(VmState, board.io_apic),
        MARGAY_SECTION(VmState, board.uart), MARGAY_SECTION(VmState, board.pit),
        MARGAY_SECTION(VmState, board.rtc), MARGAY_SECTION(VmState, board.acpi_pm),
        MARGAY_SECTION(VmState, board.pci_host), MARGAY_SECTION(VmState, cpu.msr),
        MARGAY_SECTION(VmState, cpu.kvm_clock), MARGAY_SECTION(VmState, board.cpuid),
        MARGAY_SECTION(VmState, cpu.inbox), MARGAY_SECTION(VmState, cpu.answer),
#if MARGAY_NEXT_STATE
        MARGAY_SECTION(VmState, statistics),
#endif
        // The last ones, so that a layout can end before them.
        MARGAY_SECTION(VmState, board.pci_functions), MARGAY_SECTION(VmState, board.msix_table),
});
constexpr std::size_t function_sections = 2;

constexpr std::size_t field_count = count_fields(sections);
constexpr auto layout = make_layout<field_count>(sections, sizeof(VmState));
static_assert(layout.used <= half_bytes - (14 << 10),
              "the rest is room for what is kept for other builds");

constexpr std::size_t plain_sections = sections.size() - function_sections;
constexpr std::size_t plain_fields =
    count_fields(std::span{sections}.template first<plain_sections>());

constexpr auto cpu_sections = std::to_array<PlacedSection>({
    MARGAY_SECTION(CpuState, vcpu),
    MARGAY_SECTION(CpuState, offer),
    MARGAY_SECTION(CpuState, local_apic),
    MARGAY_SECTION(CpuState, msr),
    needs_reader(MARGAY_SECTION(CpuState, kvm_clock), kvm_clock_with_marks),
    MARGAY_SECTION(CpuState, inbox),
    MARGAY_SECTION(CpuState, answer),
});
constexpr std::size_t cpu_field_count = count_fields(cpu_sections);
constexpr auto layout_of_cpu = make_layout<cpu_field_count>(cpu_sections, sizeof(CpuState));

/// A slot that is not listed above would be state that is neither rolled back nor converted.
template <typename Tables>
constexpr std::size_t listed(const Tables& tables) {
    std::size_t bytes = 0;
    for (const auto& section : tables.section) {
        bytes += slot_bytes(section.size);
    }
    return bytes;
}
static_assert(listed(layout) == sizeof(VmState));
static_assert(listed(layout_of_cpu) == sizeof(CpuState));

}  // namespace

Layout vm_layout(bool has_functions) noexcept {
    const Layout whole = layout;
    return has_functions ? whole
                         : Layout{whole.sections.first(plain_sections),
                                  whole.fields.first(plain_fields), whole.used};
}

VmState& vm_state(RegionHalf& half) noexcept {
    return *reinterpret_cast<VmState*>(half.at(slots_at<field_count>()));
}

Layout cpu_layout() noexcept { return layout_of_cpu; }

CpuState& cpu_state(RegionHalf& half) noexcept {
    return *reinterpret_cast<CpuState*>(half.at(slots_at<cpu_field_count>()));
}

}  // namespace margay::vmm
