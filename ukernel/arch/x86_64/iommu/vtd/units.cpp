#include "ukernel/arch/x86_64/iommu/vtd/units.hpp"

#include <new>

#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/debug/console.hpp"
#include "ukernel/debug/report.hpp"
#include "ukernel/memory/boot_allocator.hpp"
#include "ukernel/memory/direct_map.hpp"

namespace margay::iommu::vtd {

namespace {

[[noreturn]] void stop_for_unit() { stop_node("an IOMMU does not answer"); }

}  // namespace

// Registers, and what the unit can do. False: it is of no use, or firmware has turned it off.
bool Units::look_at(const Dmar& dmar, unsigned i) {
    const Dmar::Unit& described = dmar.units[i];
    window_bytes_[i] = described.pages * std::uint64_t{page_size};
    constexpr unsigned most_bits = 52;  // of any address
    const unsigned bits = dmar.physical_bits < most_bits ? dmar.physical_bits : most_bits;
    if (described.registers.value() >> bits != 0) return false;
    Mmio registers{described.registers, reg::bytes};
    const Capabilities has{registers.read(reg::capability),
                           registers.read(reg::extended_capability)};
    if (has.is_off() || !has.has_queue() || has.levels() == 0) return false;
    const std::uint64_t bytes = has.fault_offset() + has.fault_records() * 16u;
    registers.reach(bytes);
    if (bytes > registers.bytes()) return false;
    if (registers.bytes() > window_bytes_[i]) window_bytes_[i] = registers.bytes();

    if (has.levels() < format.levels) format.levels = static_cast<std::uint8_t>(has.levels());
    if (has.largest_leaf() < format.largest_leaf)
        format.largest_leaf = static_cast<std::uint8_t>(has.largest_leaf());
    if (has.domains() < domains) domains = has.domains();
    if (const std::uint64_t end = 1ull << has.address_bits(); end < format.end) format.end = end;
    if (!has.is_snooped()) VtdFormat::is_snooped = false;
    any_remembers_absence = any_remembers_absence || has.remembers_absence();
    any_has_buffer = any_has_buffer || has.has_write_buffer();
    all_force_snoop = all_force_snoop && has.forces_snoop();
    all_remap_interrupts = all_remap_interrupts && has.remaps_interrupts();
    all_know_x2apic = all_know_x2apic && has.knows_x2apic();

    const HostPhys queue = boot_allocator::allocate(IommuUnit::queue_entries * sizeof(Descriptor));
    const HostPhys done = boot_allocator::allocate(page_size);
    new (unit_storage_[count_]) IommuUnit{registers, queue, direct<Descriptor>(queue), done,
                                          direct<std::atomic<std::uint32_t>>(done)};
    new (fault_storage_[count_]) UnitFaults{registers, has};
    ++count_;
    return true;
}

bool Units::find(Dmar& dmar) {
    for (unsigned i = 0; i < dmar.unit_count; ++i) {
        if (look_at(dmar, i)) continue;
        log("margay: the IOMMU at {x} is off, or cannot be driven: nothing confines its devices\n",
            dmar.units[i].registers.value());
        dmar.leave_out(static_cast<std::uint8_t>(i));
    }
    // Tables of as many levels, all units have.
    for (unsigned i = 0; i < count_; ++i)
        if (!unit(i).capabilities().has_levels(format.levels)) return false;
    const std::uint64_t reach = 1ull << (12 + 9 * format.levels);
    if (reach < format.end) format.end = reach;
    if (all_force_snoop) VtdFormat::snoop = VtdFormat::force_snoop;
    all_remap_interrupts = all_remap_interrupts && dmar.remaps_interrupts;
    all_know_x2apic = all_know_x2apic && apic::is_x2apic();
    return count_ != 0;
}

void Units::enable(HostPhys root, HostPhys interrupts) {
    for (unsigned i = 0; i < count_; ++i)
        if (!unit(i).enable(root, interrupts, all_know_x2apic)) stop_for_unit();
}

void Units::complete() {
    for (unsigned i = 0; i < count_; ++i)
        if (!unit(i).complete()) stop_for_unit();
}

}  // namespace margay::iommu::vtd
