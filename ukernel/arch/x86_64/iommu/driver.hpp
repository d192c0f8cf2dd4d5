// What every kind of IOMMU does, in its own way. Calls of one driver do not overlap: iommu.cpp holds its lock.
#pragma once
#include <cstdint>
#include <span>

#include "proto/status.hpp"
#include "support/address.hpp"
#include "ukernel/arch/x86_64/iommu/dma_tables.hpp"
#include "ukernel/arch/x86_64/iommu/fault.hpp"
#include "ukernel/arch/x86_64/iommu/firmware_memory.hpp"
#include "ukernel/arch/x86_64/iommu/requester.hpp"

namespace margay::iommu {

// What a function writes, and where, to send a message.
struct Message {
    std::uint64_t address;
    std::uint32_t data;
};

// What the I/O APIC's entry of a line says, but for polarity, trigger and mask.
struct LineEntry {
    std::uint32_t low, high;
};

// Of a function; a driver may have fewer.
constexpr unsigned messages_per_function = 512;

class Driver {
  public:
    // As users know it.
    virtual const char* name() const = 0;
    // BootInfo::iommu: 1 for AMD-Vi, 2 for VT-d, 0 if no device can be given.
    virtual unsigned kind() const = 0;
    virtual DmaFormat format() const = 0;
    // How many numbers there are for domains, 0 with them, which is nobody's.
    virtual unsigned domains() const = 0;
    virtual unsigned units() const = 0;
    // Where registers are, of units that are not used as well: `bytes` of them.
    virtual unsigned windows() const = 0;
    virtual HostPhys window(unsigned i, std::uint64_t& bytes) const = 0;

    // False: what a function writes to the local APICs' addresses interrupts, whatever its tables say, and messages of Devices are
    // the processor's own. The calls about messages are not made then.
    virtual bool remaps_interrupts() const = 0;

    // What functions are to reach whose firmware says so; how many there are, which may be more than there is room for. Each has
    // let_through() once, before enable(). From enable() on nothing else is let through that was not granted.
    virtual unsigned firmware_memory(std::span<FirmwareMemory> found) const = 0;
    virtual void let_through(Requester r, std::uint16_t domain, HostPhys root) = 0;
    virtual void enable() = 0;

    // The calls as iommu.hpp has them.
    virtual Status can_confine(Requester r) const = 0;
    virtual void attach(Requester r, std::uint16_t domain, HostPhys root) = 0;
    virtual void detach(Requester r, std::uint16_t domain) = 0;
    virtual void flush(std::span<const std::uint16_t> domains) = 0;
    // Whether entries_added() does anything.
    virtual bool hears_of_entries() const = 0;
    virtual void entries_added(std::uint16_t domain) = 0;
    virtual void open_messages(Requester r, HostPhys table) = 0;
    virtual void close_messages(Requester r, HostPhys table) = 0;
    virtual Status take_message(Requester r, HostPhys table, unsigned index) = 0;
    virtual void release_message(Requester r, HostPhys table, unsigned index) = 0;
    virtual void set_message(Requester r, HostPhys table, unsigned index, unsigned vector,
                             unsigned apic_id) = 0;
    virtual Message message(HostPhys table, unsigned index) const = 0;
    virtual bool remaps_lines(unsigned io_apic_id) const = 0;
    virtual bool blocks_lines(unsigned io_apic_id) const = 0;
    virtual LineEntry set_line(unsigned io_apic_id, unsigned pin, unsigned vector, unsigned apic_id,
                               bool is_level) = 0;

    // Its units tell what they keep from happening, by that vector of the core with that APIC id. False: one cannot.
    virtual bool start_faults(unsigned apic_id, unsigned vector) = 0;
    virtual void set_fault_interrupts(bool on) = 0;
    // take_fault() comes between; it is false when nothing more is there.
    virtual void begin_faults() = 0;
    virtual bool take_fault(Fault& f) = 0;
    virtual void end_faults() = 0;
    // What was not taken is lost, and the logs go on.
    virtual void drop_faults() = 0;

  protected:
    constexpr Driver() = default;
    ~Driver() = default;
};

}  // namespace margay::iommu
