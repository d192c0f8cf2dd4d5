// AMD's IOMMU: its tables' entries, its commands and one unit's registers (AMD I/O Virtualization Technology
// specification §2.2, §2.4, §3.4). Pure over its registers, so that host tests run it against a model.
#pragma once
#include <atomic>
#include <cstdint>

#include "support/address.hpp"
#include "ukernel/arch/x86_64/iommu/amd_vi/ivrs.hpp"
#include "ukernel/arch/x86_64/iommu/command_ring.hpp"

namespace margay::iommu::amd_vi {

// A device table entry, for one requester. Hardware reads it at any time: each word is written as a whole, and in an
// order in which what is there in between lets nothing through.
struct DeviceEntry {
    std::atomic<std::uint64_t> translation;  // valid, mode, root of the I/O page tables, rights
    std::atomic<std::uint64_t> domain;
    std::atomic<std::uint64_t>
        interrupts;  // valid, length and root of the interrupt table, what is let through
    std::atomic<std::uint64_t> attributes;

    static constexpr std::uint64_t valid = 1, translates = 1 << 1;
    static constexpr unsigned mode_shift = 9, levels = 4;
    static constexpr std::uint64_t read = 1ull << 61, write = 1ull << 62;
    // No levels and no rights. An entry that is not valid would let everything pass.
    static constexpr std::uint64_t blocked = valid | translates;

    static constexpr std::uint64_t interrupts_valid = 1;
    static constexpr unsigned table_length_shift = 1;
    static constexpr std::uint64_t remap = 2ull << 60;
    // Control 0: interrupts are aborted, remappable ones and the others that the pass bits name.
    static constexpr std::uint64_t no_interrupts = interrupts_valid;

    void block_dma() {
        translation.store(blocked);
        domain.store(0);
    }
    void translate(std::uint16_t domain_id, HostPhys root) {
        translation.store(blocked);
        domain.store(domain_id);
        translation.store(blocked | std::uint64_t{levels} << mode_shift | root.value() | read |
                          write);
    }
    void block_interrupts() { interrupts.store(no_interrupts); }
    void remap_interrupts(HostPhys table);
};
static_assert(sizeof(DeviceEntry) == 32);

constexpr std::uint64_t device_table_bytes = 65536 * sizeof(DeviceEntry);

// An entry of an interrupt table in the 32-bit format: fixed, edge, to one local APIC in physical mode.
using InterruptEntry = std::atomic<std::uint32_t>;
// Of one table. A message's index is bits 10:0 of its data, and emulators read more than the table has; those above 511
// collide with the delivery mode there.
constexpr unsigned interrupt_entries = 512, interrupt_entries_log2 = 9;
constexpr std::uint64_t interrupt_table_bytes = interrupt_entries * sizeof(InterruptEntry);
constexpr std::uint32_t interrupt_entry(unsigned vector, unsigned apic_id) {
    return 1u | apic_id << 8 | vector << 16;
}

inline void DeviceEntry::remap_interrupts(HostPhys table) {
    interrupts.store(interrupts_valid |
                     std::uint64_t{interrupt_entries_log2} << table_length_shift | table.value() |
                     remap);
}

struct Command {
    std::uint64_t words[2];
};
// The store of a completion wait: 8 bytes at an 8-byte boundary.
constexpr Command completion_wait(HostPhys address, std::uint64_t value) {
    return {{1ull << 60 | address.value() | 1, value}};
}
constexpr Command invalidate_device(Requester r) { return {{2ull << 60 | r, 0}}; }
// Every page of the domain, and the tables' entries above them.
constexpr Command invalidate_domain(std::uint16_t id) {
    constexpr std::uint64_t all_pages = 0x7fff'ffff'ffff'f000, size = 1, tables = 2;
    return {{3ull << 60 | std::uint64_t{id} << 32, all_pages | size | tables}};
}
constexpr Command invalidate_interrupts(Requester r) { return {{5ull << 60 | r, 0}}; }

namespace reg {
constexpr unsigned device_table = 0x00, command_buffer = 0x08, event_log = 0x10, control = 0x18;
constexpr unsigned exclusion_base = 0x20, exclusion_limit = 0x28;
constexpr unsigned command_head = 0x2000, command_tail = 0x2008;
constexpr unsigned event_head = 0x2010, event_tail = 0x2018;
constexpr unsigned status = 0x2020;
constexpr unsigned bytes = 0x4000;
}  // namespace reg

namespace control {
constexpr std::uint64_t enable = 1 << 0;
constexpr std::uint64_t ht_tunnel = 1 << 1;
constexpr std::uint64_t events = 1 << 2, event_interrupts = 1 << 3;
constexpr std::uint64_t pass_posted_writes = 1 << 8;
constexpr std::uint64_t response_pass_posted_writes = 1 << 9;
constexpr std::uint64_t coherent = 1 << 10;
constexpr std::uint64_t isochronous = 1 << 11;
constexpr std::uint64_t commands = 1 << 12;
}  // namespace control

// Registers:  std::uint64_t read(unsigned offset); void write(unsigned offset, std::uint64_t);
//             void pause();    while it waits
template <typename Registers>
class Unit {
  public:
    static constexpr unsigned ring_entries = CommandRing<Command>::entries;

    // ring: ring_entries commands, page-aligned, where `commands` is seen by the kernel; done: 8 bytes behind which
    // `done_word` is.
    Unit(Registers registers, HostPhys ring, Command* commands, HostPhys done,
         std::atomic<std::uint64_t>* done_word)
        : registers_{registers}, ring_{ring, commands}, done_{done}, done_word_{done_word} {}

    // From here on the device table decides.
    void enable(HostPhys device_table, std::uint8_t flags) {
        constexpr std::uint64_t ring_length = 8ull << 56;  // log2 of its entries
        registers_.write(reg::control, 0);                 // firmware may have left it running
        registers_.write(reg::device_table, device_table.value() | (device_table_bytes / 4096 - 1));
        registers_.write(reg::command_buffer, ring_.at().value() | ring_length);
        // What firmware has excluded would pass untranslated.
        registers_.write(reg::exclusion_base, 0);
        registers_.write(reg::exclusion_limit, 0);
        registers_.write(reg::command_head, 0);
        registers_.write(reg::command_tail, 0);
        // Its reads of tables are to see what is in caches, whatever firmware thinks of that.
        std::uint64_t c = control::enable | control::commands | control::coherent;
        if (flags & unit_flag::ht_tunnel) c |= control::ht_tunnel;
        if (flags & unit_flag::pass_posted_writes) c |= control::pass_posted_writes;
        if (flags & unit_flag::response_pass_posted_writes)
            c |= control::response_pass_posted_writes;
        if (flags & unit_flag::isochronous) c |= control::isochronous;
        registers_.write(reg::control, c);
    }

    // The ring has room for it, if need be after a wait.
    void submit(const Command& c) {
        if (ring_.is_full()) complete();
        put(c);
    }

    // All that was submitted has been done, and the DMA that went by what was invalidated has ended. False: the unit
    // does not answer.
    bool complete() {
        const std::uint64_t number = ++number_;
        put(completion_wait(done_, number));
        ring_.expect_end();
        for (unsigned turn = 0; turn < most_turns; ++turn) {
            if (done_word_->load(std::memory_order_acquire) == number) return true;
            registers_.pause();
        }
        return false;
    }

  private:
    static constexpr unsigned most_turns = 1 << 24;

    void put(const Command& c) { registers_.write(reg::command_tail, ring_.put(c)); }

    Registers registers_;
    CommandRing<Command> ring_;
    HostPhys done_;
    std::atomic<std::uint64_t>* done_word_;
    std::uint64_t number_ = 0;
};

}  // namespace margay::iommu::amd_vi
