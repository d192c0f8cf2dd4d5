// Who is covered by which of Intel's IOMMUs: the DMAR's scopes on the buses that there are (Intel VT-d specification §8.3,
// §8.4).
#pragma once
#include <cstdint>
#include <optional>
#include <span>

#include "ukernel/arch/x86_64/iommu/firmware_memory.hpp"
#include "ukernel/arch/x86_64/iommu/requester.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/dmar.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/hierarchy.hpp"

namespace margay::iommu {

// The first buses that paths of scopes begin with, to be looked at.
BusSet start_buses(const Dmar& dmar);

class Coverage {
  public:
    static constexpr unsigned max_specials = 64;

    // What sends without being a PCI function of its own.
    struct Special {
        Requester source;
        std::uint8_t handle;  // an I/O APIC's id, or the number of an HPET
        bool is_io_apic;
        std::uint8_t unit;
    };

    // Both are kept: they stay where they are.
    void build(const Dmar& dmar, const Hierarchy& hierarchy);

    // The index in Dmar::units of the one that sees the function's DMA; Dmar::no_unit: none does. A scope that names the
    // function counts first, then that of the nearest bridge above it, then the unit that covers all others.
    std::uint8_t unit_of(Requester r) const;
    // As Hierarchy::is_hidden.
    bool is_hidden(Requester r) const { return hierarchy_->is_hidden(r); }
    // Memory that firmware lets the function use; null: none.
    const Dmar::Reserved* reserved_of(Requester r) const;
    // What functions that are named reach, each behind a unit that sees it alone; how many there are, which may be more than there is
    // room for. Functions behind a bridge that is named are not among them: an RMRR names endpoints.
    unsigned firmware_memory(std::span<FirmwareMemory> found) const;
    // The I/O APIC with that id; null: no scope names it. Its `unit` may be Dmar::no_unit: nobody looks its messages up.
    const Special* io_apic(unsigned id) const;
    // Whether messages of an I/O APIC or an HPET bear that name.
    bool is_special(Requester r) const;
    // Scopes whose paths lead to no function, and specials for which there is no room.
    unsigned left_out() const { return left_out_; }

  private:
    struct Named {
        Requester function;
        std::uint8_t owner;
    };
    // Scopes of one kind of owner.
    template <unsigned most>
    struct Map {
        Named named[most];  // those of endpoints first
        unsigned named_count;
        BusSet behind_named;  // whose bridge is named, or one above it
        std::uint8_t of_bus[Hierarchy::bus_count];

        // Not set: nobody names it. It may be named as no_unit's.
        std::optional<std::uint8_t> owner_of(Requester r) const;
    };
    template <unsigned most>
    void build_map(Map<most>& map, const Dmar::Scope* scopes, unsigned count);
    void add_special(const Dmar::Scope& scope);
    bool resolve(const Dmar::Scope& scope, Requester& function) const;

    const Dmar* dmar_ = nullptr;
    const Hierarchy* hierarchy_ = nullptr;
    Map<Dmar::max_scopes> units_ = {};
    Map<Dmar::max_reserved_scopes> reserved_ = {};
    Special specials_[max_specials] = {};
    unsigned special_count_ = 0;
    unsigned left_out_ = 0;
};

}  // namespace margay::iommu
