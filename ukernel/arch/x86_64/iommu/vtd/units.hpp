// All units together: what each can do, and what is asked of all of them at once.
#pragma once
#include <cstdint>

#include "proto/kernel.hpp"
#include "ukernel/arch/x86_64/iommu/dma_tables.hpp"
#include "ukernel/arch/x86_64/iommu/mmio.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/dmar.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/fault_records.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/unit.hpp"

namespace margay::iommu::vtd {

using IommuUnit = Unit<Mmio>;
using UnitFaults = FaultRecords<Mmio>;

class Units {
  public:
    // Looks at every unit that the DMAR describes, and leaves out of it those that cannot be driven. False: there is none, or no
    // tables are good for all.
    bool find(Dmar& dmar);
    // From here on the tables decide.
    void enable(HostPhys root, HostPhys interrupts);

    unsigned count() const { return count_; }
    UnitFaults& faults(unsigned i) {
        return *std::launder(reinterpret_cast<UnitFaults*>(fault_storage_[i]));
    }
    // Bytes of registers, of one that the DMAR describes.
    std::uint64_t window_bytes(unsigned described) const { return window_bytes_[described]; }

    void submit(const Descriptor& d) {
        for (unsigned i = 0; i < count_; ++i) unit(i).submit(d);
    }
    void forget_domain(std::uint16_t domain) {
        for (unsigned i = 0; i < count_; ++i) unit(i).forget_domain(domain);
    }
    // Stops the node if a unit does not answer: it confines nobody.
    void complete();

    // What every unit can do.
    DmaFormat format{DmaFormat::Entries::vtd, 4, 2, guest_end};
    unsigned domains = 65536;
    // What one or another does, or not all.
    bool any_remembers_absence = false, any_has_buffer = false, all_remap_interrupts = true,
         all_know_x2apic = true, all_force_snoop = true;

  private:
    bool look_at(const Dmar& dmar, unsigned described);
    IommuUnit& unit(unsigned i) {
        return *std::launder(reinterpret_cast<IommuUnit*>(unit_storage_[i]));
    }

    alignas(IommuUnit) std::uint8_t unit_storage_[Dmar::max_units][sizeof(IommuUnit)];
    alignas(UnitFaults) std::uint8_t fault_storage_[Dmar::max_units][sizeof(UnitFaults)];
    unsigned count_ = 0;
    std::uint64_t window_bytes_[Dmar::max_units] = {};
};

}  // namespace margay::iommu::vtd
