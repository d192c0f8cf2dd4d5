// One unit of VT-d: how it is started, and its invalidation queue (Intel Virtualization Technology for Directed I/O specification §6.5.2,
// §11.4). Pure over the registers, so that host tests run it against a model.
#pragma once
#include <atomic>
#include <cstdint>

#include "support/address.hpp"
#include "ukernel/arch/x86_64/iommu/command_ring.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/entries.hpp"

namespace margay::iommu::vtd {

namespace reg {
constexpr unsigned capability = 0x08, extended_capability = 0x10;
constexpr unsigned command = 0x18, status = 0x1c;  // 32 bits
constexpr unsigned root_table = 0x20;
constexpr unsigned fault_status = 0x34, fault_control = 0x38, fault_data = 0x3c,
                   fault_address = 0x40, fault_upper_address = 0x44;  // 32 bits
constexpr unsigned protected_memory = 0x64;                           // 32 bits
constexpr unsigned queue_head = 0x80, queue_tail = 0x88, queue_address = 0x90;
constexpr unsigned interrupt_table = 0xb8;
constexpr unsigned bytes = 4096;  // but for fault records, see Capabilities
}  // namespace reg

// Bits of the command register, and, but for those that only do something once, of the status register.
namespace command {
constexpr std::uint32_t translation = 1u << 31;
constexpr std::uint32_t set_root = 1u << 30;      // once
constexpr std::uint32_t flush_buffer = 1u << 27;  // once
constexpr std::uint32_t queue = 1u << 26;
constexpr std::uint32_t interrupts = 1u << 25;
constexpr std::uint32_t set_interrupt_table = 1u << 24;  // once
constexpr std::uint32_t old_messages = 1u << 23;  // interrupt messages of the old format pass
constexpr std::uint32_t advanced_log = 1u << 28;  // faults are written into memory
constexpr std::uint32_t once = set_root | 1u << 29 | flush_buffer | set_interrupt_table;
}  // namespace command

// What a unit can do.
struct Capabilities {
    std::uint64_t basic, extended;

    // Of the tables, 3 or 4; 0: it has none that this driver makes.
    unsigned levels() const { return basic >> 10 & 1 ? 4 : basic >> 9 & 1 ? 3 : 0; }
    bool has_levels(unsigned n) const { return (basic >> (6 + n) & 1) != 0; }
    unsigned address_bits() const { return static_cast<unsigned>(basic >> 16 & 0x3f) + 1; }
    unsigned largest_leaf() const { return basic >> 34 & 1 ? basic >> 35 & 1 ? 2 : 1 : 0; }
    unsigned domains() const {
        const unsigned bits = 4 + 2 * static_cast<unsigned>(basic & 7);
        return 1u << (bits < 16 ? bits : 16);
    }
    // It remembers that there was no entry: emulated units.
    bool remembers_absence() const { return (basic >> 7 & 1) != 0; }
    bool has_write_buffer() const { return (basic >> 4 & 1) != 0; }
    bool protects_memory() const { return (basic >> 5 & 3) != 0; }
    std::uint64_t drain() const {
        return (basic >> 54 & 1 ? drain_writes : 0) | (basic >> 55 & 1 ? drain_reads : 0);
    }
    unsigned fault_records() const { return static_cast<unsigned>(basic >> 40 & 0xff) + 1; }
    unsigned fault_offset() const { return static_cast<unsigned>(basic >> 24 & 0x3ff) * 16; }

    // Firmware has turned it off: nobody answers.
    bool is_off() const { return basic == ~0ull || extended == ~0ull; }
    bool is_snooped() const { return (extended & 1) != 0; }
    bool forces_snoop() const { return (extended >> 7 & 1) != 0; }
    bool has_queue() const { return (extended >> 1 & 1) != 0; }
    bool remaps_interrupts() const { return (extended >> 3 & 1) != 0; }
    bool knows_x2apic() const { return (extended >> 4 & 1) != 0; }
};

// Registers:  std::uint64_t read(unsigned offset); void write(unsigned offset, std::uint64_t);
//             std::uint32_t read32(unsigned offset); void write32(unsigned offset, std::uint32_t);
//             void pause();    while it waits
template <typename Registers>
class Unit {
  public:
    static constexpr unsigned queue_entries = CommandRing<Descriptor>::entries;

    // queue: queue_entries descriptors, page-aligned, where `descriptors` is seen by the kernel; done: 4 bytes behind which `done_word`
    // is.
    Unit(Registers registers, HostPhys queue, Descriptor* descriptors, HostPhys done,
         std::atomic<std::uint32_t>* done_word)
        : registers_{registers}, queue_{queue, descriptors}, done_{done}, done_word_{done_word} {}

    Capabilities capabilities() const {
        return {registers_.read(reg::capability), registers_.read(reg::extended_capability)};
    }

    // From here on the tables decide. Without an interrupt table (0), messages pass as before. False: it does not do what it is
    // told.
    bool enable(HostPhys root, HostPhys interrupts, bool x2apic) {
        drain_ = capabilities().drain();
        has_buffer_ = capabilities().has_write_buffer();
        // Firmware may have left it running, and keeps devices from memory: its tables hold until there are these.
        if (!end_queue() || !turn(command::advanced_log, false)) return false;
        // Errors of before would stop the queue.
        registers_.write32(reg::fault_status, queue_errors);
        registers_.write(reg::queue_tail, 0);
        registers_.write(reg::queue_address, queue_.at().value());  // 256 descriptors: size 0
        if (!turn(command::queue, true)) return false;
        registers_.write(reg::root_table, root.value());
        if (!once(command::set_root)) return false;
        submit(invalidate_contexts());
        submit(invalidate_translations(drain_));
        if (!complete()) return false;
        if (interrupts.value() != 0) {
            constexpr std::uint64_t wide_destinations = 1 << 11;
            registers_.write(reg::interrupt_table, interrupts.value() |
                                                       (x2apic ? wide_destinations : 0) |
                                                       (interrupt_entries_log2 - 1));
            if (!once(command::set_interrupt_table)) return false;
            submit(invalidate_interrupts());
            if (!complete() || !turn(command::old_messages, false)) return false;
        }
        return turn(command::interrupts, interrupts.value() != 0) &&
               turn(command::translation, true) && unprotect();
    }

    // The queue has room for it, if need be after a wait.
    void submit(const Descriptor& d) {
        if (queue_.is_full()) complete();
        put(d);
    }
    void forget_domain(std::uint16_t domain) { submit(invalidate_domain(domain, drain_)); }

    // All that was submitted has been done, and the DMA that went by what was invalidated has ended. False: the unit does not answer.
    bool complete() {
        // Chipsets of before 2010 keep the kernel's stores to tables from the unit.
        if (has_buffer_ && !once(command::flush_buffer)) return false;
        const std::uint32_t number = ++number_;
        put(wait(done_, number));
        queue_.expect_end();
        return becomes([&] { return done_word_->load(std::memory_order_acquire) == number; });
    }

  private:
    static constexpr unsigned most_turns = 1 << 24;
    static constexpr std::uint32_t queue_errors = 1 << 4 | 1 << 5 | 1 << 6;

    // What is under way in it ends first, unless it has failed.
    bool end_queue() {
        if ((registers_.read32(reg::status) & command::queue) == 0) return true;
        if ((registers_.read32(reg::fault_status) & queue_errors) == 0)
            (void)becomes([&] {
                return registers_.read(reg::queue_head) == registers_.read(reg::queue_tail);
            });
        return turn(command::queue, false);
    }

    template <typename F>
    bool becomes(F done) {
        for (unsigned n = 0; n < most_turns; ++n) {
            if (done()) return true;
            registers_.pause();
        }
        return false;
    }
    // Of what stays: on or off.
    bool turn(std::uint32_t bit, bool on) {
        const std::uint32_t now = registers_.read32(reg::status);
        if (((now & bit) != 0) == on) return true;
        registers_.write32(reg::command, (now & ~command::once & ~bit) | (on ? bit : 0));
        return becomes([&] { return ((registers_.read32(reg::status) & bit) != 0) == on; });
    }
    bool once(std::uint32_t bit) {
        const std::uint32_t now = registers_.read32(reg::status);
        registers_.write32(reg::command, (now & ~command::once) | bit);
        // A buffer is flushed when its bit is off again, what was set is set when its bit is on.
        const bool until = bit != command::flush_buffer;
        return becomes([&] { return ((registers_.read32(reg::status) & bit) != 0) == until; });
    }
    // Firmware keeps devices from memory by ranges until somebody who has tables turns that off.
    bool unprotect() {
        constexpr std::uint32_t enable = 1u << 31, is_on = 1;
        if (!capabilities().protects_memory()) return true;
        registers_.write32(reg::protected_memory,
                           registers_.read32(reg::protected_memory) & ~enable);
        return becomes([&] { return (registers_.read32(reg::protected_memory) & is_on) == 0; });
    }
    void put(const Descriptor& d) { registers_.write(reg::queue_tail, queue_.put(d)); }

    Registers registers_;
    CommandRing<Descriptor> queue_;
    HostPhys done_;
    std::atomic<std::uint32_t>* done_word_;
    std::uint64_t drain_ = 0;
    std::uint32_t number_ = 0;
    bool has_buffer_ = false;
};

}  // namespace margay::iommu::vtd
