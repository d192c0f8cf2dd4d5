// What VT-d's units read in memory: context entries, interrupt entries, descriptors of the invalidation queue (Intel Virtualization
// Technology for Directed I/O specification §9.1, §9.3, §9.10, §6.5.2). Legacy mode.
#pragma once
#include <atomic>
#include <cstdint>

#include "support/address.hpp"
#include "ukernel/arch/x86_64/iommu/requester.hpp"

namespace margay::iommu::vtd {

// Of one bus: where the contexts of its functions are.
struct RootEntry {
    std::uint64_t low, high;
};
constexpr RootEntry root_entry(HostPhys contexts) { return {contexts.value() | 1, 0}; }

// Of one function. One that is not present lets nothing through. Hardware reads it at any time: what is in between lets nothing through
// either.
struct ContextEntry {
    std::atomic<std::uint64_t> low;   // present, type 0: by tables; their root
    std::atomic<std::uint64_t> high;  // their levels, the domain
    static constexpr std::uint64_t present = 1;
    static constexpr unsigned domain_shift = 8;

    // The levels are coded as 1 for 3 and 2 for 4.
    void translate(std::uint16_t domain, HostPhys root, unsigned levels) {
        low.store(0);
        high.store(std::uint64_t{domain} << domain_shift | (levels - 2));
        low.store(root.value() | present);
    }
    void block() { low.store(0); }
};
static_assert(sizeof(ContextEntry) == 16);

constexpr unsigned context_entries = 65536;  // by requester: of all buses, one behind the other
constexpr std::uint64_t context_bytes = context_entries * sizeof(ContextEntry);

// An entry of the interrupt table: fixed, to one local APIC in physical mode, and only from its function.
struct InterruptEntry {
    std::atomic<std::uint64_t> low;
    std::atomic<std::uint64_t> high;  // whose it is
    static constexpr std::uint64_t present = 1, level_triggered = 1 << 4;
    static constexpr std::uint64_t whole_id = 1ull << 18;  // the requester is compared as a whole

    void set_owner(Requester r) { high.store(whole_id | r); }
};
static_assert(sizeof(InterruptEntry) == 16);

// Destinations are 8 bits where the unit is not told of x2APIC (`wide`).
constexpr std::uint64_t interrupt_entry(unsigned vector, unsigned apic_id, bool is_level,
                                        bool wide) {
    return InterruptEntry::present | (is_level ? InterruptEntry::level_triggered : 0) |
           std::uint64_t{vector} << 16 | std::uint64_t{apic_id} << (wide ? 32 : 40);
}

// Of the table that all units share: one message each. The handles fit in the 15 bits that are together in messages and lines.
constexpr unsigned interrupt_entries = 32768, interrupt_entries_log2 = 15;
constexpr std::uint64_t interrupt_table_bytes = interrupt_entries * sizeof(InterruptEntry);

// A message with that handle (§5.1.2.2), and a line's entry in an I/O APIC (§5.1.5.1).
constexpr std::uint64_t message_address(unsigned handle) {
    constexpr std::uint64_t local_apics = 0xfee0'0000, remappable = 1 << 4;
    return local_apics | std::uint64_t{handle} << 5 | remappable;
}
// The vector is what the local APIC's end of interrupt is matched with.
constexpr std::uint32_t line_low(unsigned vector) { return vector; }
constexpr std::uint32_t line_high(unsigned handle) {
    constexpr std::uint32_t remappable = 1 << 16;
    return handle << 17 | remappable;
}

struct Descriptor {
    std::uint64_t words[2];
};
// A context entry, which had that domain.
constexpr Descriptor invalidate_context(Requester r, std::uint16_t domain) {
    constexpr std::uint64_t context = 1, of_function = 3 << 4;
    return {{context | of_function | std::uint64_t{domain} << 16 | std::uint64_t{r} << 32, 0}};
}
constexpr Descriptor invalidate_contexts() { return {{1 | 1 << 4, 0}}; }
// Translations of a domain. Reads and writes that go by them end before it does, on units that can wait for them.
constexpr Descriptor invalidate_domain(std::uint16_t domain, std::uint64_t drain) {
    return {{2 | 2 << 4 | drain | std::uint64_t{domain} << 16, 0}};
}
constexpr Descriptor invalidate_translations(std::uint64_t drain) {
    return {{2 | 1 << 4 | drain, 0}};
}
constexpr std::uint64_t drain_writes = 1 << 6, drain_reads = 1 << 7;
// An entry of the interrupt table, or all.
constexpr Descriptor invalidate_interrupt(unsigned handle) {
    return {{4 | 1 << 4 | std::uint64_t{handle} << 32, 0}};
}
constexpr Descriptor invalidate_interrupts() { return {{4, 0}}; }
// Stores the value when all before is done. It has no interrupt: an emulator takes only one of both.
constexpr Descriptor wait(HostPhys address, std::uint32_t value) {
    constexpr std::uint64_t wait_for = 5, store = 1 << 5;
    return {{wait_for | store | std::uint64_t{value} << 32, address.value()}};
}

}  // namespace margay::iommu::vtd
