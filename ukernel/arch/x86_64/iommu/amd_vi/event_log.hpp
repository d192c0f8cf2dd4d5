// The event log of AMD's IOMMU: what a unit has kept from happening, and what it could not read (AMD I/O Virtualization Technology
// specification §2.5, §3.4.1). Pure over the registers, so that host tests run it against a model.
#pragma once
#include <cstdint>

#include "ukernel/arch/x86_64/iommu/amd_vi/unit.hpp"

namespace margay::iommu::amd_vi {

struct Event {
    std::uint64_t words[2];

    enum class Code : std::uint8_t {
        none = 0,
        illegal_device_entry = 1,
        page_fault = 2,
        device_table_error = 3,  // hardware could not read it
        page_table_error = 4,
        illegal_command = 5,
        command_error = 6,
        invalidation_timeout = 7,
        invalid_request = 8,
    };
    Code code() const { return static_cast<Code>(words[0] >> 60); }
    Requester requester() const { return static_cast<Requester>(words[0]); }
    // Of a page fault: what the function wanted.
    bool was_interrupt() const { return (words[0] >> 51 & 1) != 0; }
    bool was_write() const { return (words[0] >> 53 & 1) != 0; }
    std::uint64_t address() const { return words[1]; }
};
static_assert(sizeof(Event) == 16);

namespace status {
constexpr std::uint64_t overflow = 1 << 0, event = 1 << 1;  // cleared by ones
constexpr std::uint64_t log_runs = 1 << 3;
}  // namespace status

template <typename Registers>
class EventLog {
  public:
    static constexpr unsigned entries = 256;

    // at: where `events`, all zero, lie for the unit; page-aligned.
    EventLog(Registers registers, HostPhys at, volatile Event* events)
        : registers_{registers}, at_{at}, events_{events} {}

    // Of a unit that has been enabled.
    void start() {
        constexpr std::uint64_t length = 8ull << 56;  // log2 of its entries
        registers_.write(reg::event_log, at_.value() | length);
        begin();
    }

    // Whether the unit's interrupt says that there is something.
    void set_interrupts(bool on) {
        const std::uint64_t c = registers_.read(reg::control);
        registers_.write(reg::control,
                         on ? c | control::event_interrupts : c & ~control::event_interrupts);
    }

    // Before the log is read: what comes from now on interrupts again. A log that was full goes on, without what it had no room
    // for; true if that was so.
    bool acknowledge() {
        const std::uint64_t s = registers_.read(reg::status);
        registers_.write(reg::status, s & (status::overflow | status::event));
        return (s & status::overflow) != 0;
    }
    // After it was read and acknowledge() said so.
    void restart() {
        registers_.write(reg::control, registers_.read(reg::control) & ~control::events);
        for (unsigned turn = 0;
             turn < most_turns && (registers_.read(reg::status) & status::log_runs) != 0; ++turn)
            registers_.pause();
        begin();
    }

    // The next one. False: there is none.
    bool take(Event& e) {
        const std::uint64_t tail = registers_.read(reg::event_tail) & (entries * sizeof(Event) - 1);
        if (head_ == tail) return false;
        volatile Event& slot = events_[head_ / sizeof(Event)];
        // Some units move the tail before the entry can be seen.
        for (unsigned turn = 0; turn < most_turns && slot.words[0] >> 60 == 0; ++turn)
            registers_.pause();
        e.words[0] = slot.words[0];
        e.words[1] = slot.words[1];
        slot.words[0] = 0;
        slot.words[1] = 0;
        head_ = (head_ + sizeof(Event)) % (entries * sizeof(Event));
        registers_.write(reg::event_head, head_);
        return true;
    }

  private:
    static constexpr unsigned most_turns = 1000;

    void begin() {
        head_ = 0;
        registers_.write(reg::event_head, 0);
        registers_.write(reg::event_tail, 0);
        registers_.write(reg::control, registers_.read(reg::control) | control::events);
    }

    Registers registers_;
    HostPhys at_;
    volatile Event* events_;
    std::uint64_t head_ = 0;  // bytes
};

// Has the function at `self` send that message (PCI local bus specification 3.0 §6.8.1). False: it cannot. Config:
//   std::uint32_t read(Requester, unsigned offset); void write(Requester, unsigned offset, std::uint32_t);
template <typename Config>
bool program_message(Config& config, Requester self, std::uint64_t address, std::uint32_t data) {
    constexpr std::uint32_t has_list = 1u << 20, enable = 1 << 16, count = 7 << 20, wide = 1 << 23,
                            msi = 0x05;
    if ((config.read(self, 4) & has_list) == 0) return false;
    unsigned at = config.read(self, 0x34) & 0xfc;
    // A list in a circle ends.
    for (unsigned steps = 0; at >= 0x40 && steps < 48; ++steps) {
        const std::uint32_t header = config.read(self, at);
        if ((header & 0xff) == msi) {
            const bool is_wide = (header & wide) != 0;
            if (!is_wide && address >> 32 != 0) return false;
            config.write(self, at + 4, static_cast<std::uint32_t>(address));
            if (is_wide) config.write(self, at + 8, static_cast<std::uint32_t>(address >> 32));
            config.write(self, at + (is_wide ? 12 : 8), data);
            config.write(self, at, (header & ~count) | enable);
            return true;
        }
        at = header >> 8 & 0xfc;
    }
    return false;
}

}  // namespace margay::iommu::amd_vi
