// The node's IOMMUs: what DMA of PCI functions reaches, and which interrupts they raise. From start() on nothing of
// either gets through that was not let through here. Where there is none, every call says so.
#pragma once
#include <atomic>
#include <cstdint>
#include <span>

#include "proto/status.hpp"
#include "support/address.hpp"
#include "ukernel/arch/x86_64/acpi.hpp"
#include "ukernel/arch/x86_64/iommu/amd_vi.hpp"
#include "ukernel/arch/x86_64/iommu/ivrs.hpp"

namespace margay::iommu {

// Takes over the units that firmware describes. Once, on the boot core, before any line of an I/O APIC is unmasked.
void start(const acpi::Platform& platform);
bool is_present();
// What is kept from happening is told from here on, by interrupts of the core with that APIC id.
void start_events(unsigned apic_id);
// On that core, when its vector comes.
void serve_events();
// Where the units' registers are, amd_vi::reg::bytes each: nobody else's.
std::span<const Ivrs::Unit> units();

// Whether a unit sees the function's DMA, under its own name. `not_supported`: there is none, or a bridge hides it;
// `in_use`: firmware uses memory behind its back (IVMD), or it is the unit itself.
Status can_confine(Requester r);

// The numbers by which units tag translations. None left: `no_memory`. 0 is nobody's.
Status take_domain(std::uint16_t& id);
void release_domain(std::uint16_t id);

// The calls below return when nothing of before is under way any more.

// What the function reaches from now on: what the tables under `root` map (memory/format/amd_vi.hpp, four levels).
void attach(Requester r, std::uint16_t domain, HostPhys root);
// Nothing.
void detach(Requester r, std::uint16_t domain);
// Entries of these domains' tables were removed. One wait for all.
void flush(std::span<const std::uint16_t> domains);

// The function's messages are looked up in that table (amd_vi::interrupt_table_bytes, zeroed), until block_interrupts().
void remap_interrupts(Requester r, HostPhys table);
void block_interrupts(Requester r);
// Writes one entry of such a table; vector 0: no interrupt.
void set_message(Requester r, amd_vi::InterruptEntry* table, unsigned index, unsigned vector,
                 unsigned apic_id);

// Lines: whether messages of the I/O APIC with that id are looked up, and where a pin's go then.
bool remaps_lines(unsigned io_apic_id);
void set_line(unsigned io_apic_id, unsigned pin, unsigned vector, unsigned apic_id);

}  // namespace margay::iommu
