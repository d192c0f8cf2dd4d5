// The node's IOMMUs: what DMA of PCI functions reaches, and which interrupts they raise. From start() on nothing of
// either gets through that was not let through here. Where there is none, every call says so.
#pragma once
#include <cstdint>
#include <span>

#include "proto/status.hpp"
#include "support/address.hpp"
#include "ukernel/arch/x86_64/acpi.hpp"
#include "ukernel/arch/x86_64/iommu/driver.hpp"
#include "ukernel/arch/x86_64/iommu/requester.hpp"

namespace margay::iommu {

// Takes over the units that firmware describes. Once, on the boot core, before any line of an I/O APIC is unmasked. What of
// memory is nobody else's, firmware may go on to use.
void start(const acpi::Platform& platform, const MemoryMap& memory);
// Null: there is none. What it is, and where its registers are, nobody else's.
const Driver* driver();
bool is_present();
// Whether they confine interrupts of devices as well as DMA. If not, the calls about messages below are not to be made.
bool remaps_interrupts();
constexpr unsigned most_firmware_memory = 64;
// What firmware uses, and through which functions, whether it could be let through or not.
std::span<const FirmwareMemory> firmware_memory();
// What is kept from happening is told from here on, by interrupts of the core with that APIC id.
void start_faults(unsigned apic_id);
// On that core, when its vector comes.
void serve_faults();

// Whether a unit sees the function's DMA, under its own name. `not_supported`: there is none, or a bridge hides it;
// `in_use`: firmware uses memory behind its back (IVMD, RMRR), or it is the unit itself.
Status can_confine(Requester r);

// The numbers by which units tag translations. None left: `no_memory`. 0 is nobody's.
Status take_domain(std::uint16_t& id);
void release_domain(std::uint16_t id);

// How tables of DMA look. Only where there is an IOMMU.
DmaFormat dma_format();

// The calls below return when nothing of before is under way any more.

// What the function reaches from now on: what the tables under `root` map.
void attach(Requester r, std::uint16_t domain, HostPhys root);
// Nothing.
void detach(Requester r, std::uint16_t domain);
// Entries of these domains' tables were removed. One wait for all.
void flush(std::span<const std::uint16_t> domains);
// Some were added: a unit may have remembered that there were none.
void entries_added(std::uint16_t domain);

// From now on until close_messages(), the function can send those of its messages that are set. `table`: a zeroed page, which
// only these calls use.
void open_messages(Requester r, HostPhys table);
void close_messages(Requester r, HostPhys table);
// One of messages_per_function, not taken yet; it raises nothing. `no_memory`: the units have none left.
Status take_message(Requester r, HostPhys table, unsigned index);
void release_message(Requester r, HostPhys table, unsigned index);
// Vector 0: no interrupt.
void set_message(Requester r, HostPhys table, unsigned index, unsigned vector, unsigned apic_id);
// How the function sends it.
Message message(HostPhys table, unsigned index);

// Lines: whether messages of the I/O APIC with that id are looked up; where a pin's go then.
bool remaps_lines(unsigned io_apic_id);
// None of it gets through: firmware does not say whose its messages are.
bool blocks_lines(unsigned io_apic_id);
LineEntry set_line(unsigned io_apic_id, unsigned pin, unsigned vector, unsigned apic_id,
                   bool is_level);

}  // namespace margay::iommu
