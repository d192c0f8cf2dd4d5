// An IOMMU as devices see it: it walks tables as the specification says, and remembers what it has found until it is
// told to forget. Stands in for arch/x86_64/iommu/iommu.cpp.
#pragma once
#include <optional>

#include "ukernel/arch/x86_64/iommu/iommu.hpp"

namespace margay::iommu_model {

// A machine with one (or none) that walks tables of that kind, nobody attached. Functions 8 to 0xff can be confined; 0x20 has memory
// that firmware uses.
using Entries = iommu::DmaFormat::Entries;
void reset(bool present, Entries kind = Entries::amd_vi, unsigned levels = 4);
// It leaves interrupts alone, until reset().
void pass_messages();
// It has so many, until reset().
void allow_messages(unsigned count);

// Where DMA of the function to that address goes; nothing: it is blocked.
std::optional<HostPhys> reach(iommu::Requester r, std::uint64_t address, bool writes);

struct Interrupt {
    unsigned vector, apic_id;
};
// What a message with that index raises; nothing: it is blocked.
std::optional<Interrupt> message(iommu::Requester r, unsigned index);

// Domain numbers, and messages, that are taken.
unsigned domains();
unsigned messages();

// How often the kernel was asked to look what the units have to tell.
unsigned looks();

}  // namespace margay::iommu_model
