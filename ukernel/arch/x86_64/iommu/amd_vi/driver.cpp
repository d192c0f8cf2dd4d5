#include "ukernel/arch/x86_64/iommu/amd_vi/driver.hpp"

#include <new>

#include "proto/kernel.hpp"
#include "ukernel/arch/x86_64/iommu/amd_vi/event_log.hpp"
#include "ukernel/arch/x86_64/iommu/amd_vi/ivrs.hpp"
#include "ukernel/arch/x86_64/iommu/amd_vi/unit.hpp"
#include "ukernel/arch/x86_64/iommu/mmio.hpp"
#include "ukernel/arch/x86_64/iommu/port_config.hpp"
#include "ukernel/debug/console.hpp"
#include "ukernel/debug/report.hpp"
#include "ukernel/memory/boot_allocator.hpp"
#include "ukernel/memory/direct_map.hpp"

namespace margay::iommu::amd_vi {

namespace {

using IommuUnit = Unit<Mmio>;
using UnitLog = EventLog<Mmio>;

Ivrs ivrs;
alignas(IommuUnit) std::uint8_t unit_storage[Ivrs::max_units][sizeof(IommuUnit)];
unsigned unit_count = 0;
alignas(UnitLog) std::uint8_t log_storage[Ivrs::max_units][sizeof(UnitLog)];
unsigned log_count = 0;
DeviceEntry* devices = nullptr;
HostPhys line_tables[Ivrs::max_specials] = {};

IommuUnit& unit(unsigned i) { return *std::launder(reinterpret_cast<IommuUnit*>(unit_storage[i])); }
UnitLog& event_log(unsigned i) { return *std::launder(reinterpret_cast<UnitLog*>(log_storage[i])); }

void submit_to_all(const Command& c) {
    for (unsigned i = 0; i < unit_count; ++i) unit(i).submit(c);
}
// A unit that does not answer confines nobody.
void complete() {
    for (unsigned i = 0; i < unit_count; ++i)
        if (!unit(i).complete()) stop_node("an IOMMU does not answer");
}

const Ivrs::Special* io_apic_of(unsigned id) {
    for (unsigned i = 0; i < ivrs.special_count; ++i)
        if (ivrs.specials[i].is_io_apic && ivrs.specials[i].handle == id) return &ivrs.specials[i];
    return nullptr;
}

bool exists(PortConfig& config, Requester r) { return (config.read(r, 0) & 0xffff) != 0xffff; }

Fault fault_of(const Event& e) {
    using Kind = Fault::Kind;
    const auto kind = [&e] {
        switch (e.code()) {
        case Event::Code::page_fault:
            return e.was_interrupt() ? Kind::interrupt : e.was_write() ? Kind::write : Kind::read;
        case Event::Code::device_table_error:
        case Event::Code::page_table_error: return Kind::bad_tables;
        case Event::Code::invalidation_timeout: return Kind::does_not_forget;
        case Event::Code::illegal_command:
        case Event::Code::command_error: return Kind::bad_command;
        default: return Kind::bad_request;
        }
    };
    return {kind(), e.requester(), e.address()};
}

static_assert(interrupt_entries == messages_per_function && interrupt_table_bytes <= page_size);

class AmdVi final : public Driver {
  public:
    const char* name() const override { return "AMD-Vi"; }
    unsigned kind() const override { return 1; }
    DmaFormat format() const override {
        return {DmaFormat::Entries::amd_vi, DeviceEntry::levels, 2, guest_end};
    }
    unsigned domains() const override { return 65536; }
    unsigned units() const override { return ivrs.unit_count; }
    unsigned windows() const override { return ivrs.unit_count; }
    HostPhys window(unsigned i, std::uint64_t& bytes) const override {
        bytes = reg::bytes;
        return ivrs.units[i].registers;
    }

    // Firmware that does not say whose an I/O APIC's messages are has turned it off.
    bool remaps_interrupts() const override {
        for (unsigned i = 0; i < ivrs.special_count; ++i)
            if (ivrs.specials[i].is_io_apic) return true;
        return false;
    }

    unsigned firmware_memory(std::span<FirmwareMemory> found) const override {
        PortConfig config;
        unsigned count = 0;
        for (unsigned i = 0; i < ivrs.reserved_count; ++i) {
            const Ivrs::Reserved& m = ivrs.reserved[i];
            for (std::uint32_t r = m.first; r <= m.last; ++r) {
                const auto function = static_cast<Requester>(r);
                const Ivrs::Range* range = ivrs.range_of(function);
                if (range == nullptr || range->aliased || !exists(config, function)) continue;
                if (count < found.size())
                    found[count] = {function, m.reads, m.writes,
                                    HostPhys{align_down(m.begin.value(), page_size)},
                                    HostPhys{align_up(m.end.value(), page_size)}};
                ++count;
            }
        }
        return count;
    }
    void let_through(Requester r, std::uint16_t domain, HostPhys root) override {
        devices[r].translate(domain, root);
    }
    void enable() override {
        for (unsigned i = 0; i < ivrs.unit_count; ++i) {
            const HostPhys ring =
                boot_allocator::allocate(IommuUnit::ring_entries * sizeof(Command));
            const HostPhys done = boot_allocator::allocate(page_size);
            new (unit_storage[i])
                IommuUnit{Mmio{ivrs.units[i].registers, reg::bytes}, ring, direct<Command>(ring),
                          done, direct<std::atomic<std::uint64_t>>(done)};
            unit(i).enable(table_, ivrs.units[i].flags);
            ++unit_count;
        }
        complete();
    }

    Status can_confine(Requester r) const override {
        const Ivrs::Range* range = ivrs.range_of(r);
        if (range == nullptr || range->aliased) return Status::not_supported;
        for (unsigned i = 0; i < ivrs.unit_count; ++i)
            if (ivrs.units[i].self == r) return Status::in_use;
        for (unsigned i = 0; i < ivrs.special_count; ++i)
            if (ivrs.specials[i].source == r) return Status::in_use;
        return ivrs.reserved_of(r) != nullptr ? Status::in_use : Status::ok;
    }

    void attach(Requester r, std::uint16_t domain, HostPhys root) override {
        let_through(r, domain, root);
        submit_to_all(invalidate_device(r));
        complete();
    }
    void detach(Requester r, std::uint16_t domain) override {
        devices[r].block_dma();
        submit_to_all(invalidate_device(r));
        submit_to_all(invalidate_domain(domain));
        complete();
    }
    void flush(std::span<const std::uint16_t> domains) override {
        for (const std::uint16_t domain : domains) submit_to_all(invalidate_domain(domain));
        complete();
    }
    // Entries that are not present are not remembered (§2.2.8: NpCache is for emulated units).
    bool hears_of_entries() const override { return false; }
    void entries_added(std::uint16_t) override {}

    void open_messages(Requester r, HostPhys table) override {
        devices[r].remap_interrupts(table);
        forget_messages(r);
    }
    void close_messages(Requester r, HostPhys) override {
        devices[r].block_interrupts();
        forget_messages(r);
    }
    // An index is one of the function's own.
    Status take_message(Requester, HostPhys, unsigned) override { return Status::ok; }
    void release_message(Requester, HostPhys, unsigned) override {}
    void set_message(Requester r, HostPhys table, unsigned index, unsigned vector,
                     unsigned apic_id) override {
        const std::uint32_t entry = vector == 0 ? 0 : interrupt_entry(vector, apic_id);
        // A level-triggered line is let in again and again, to the same place.
        if (direct<InterruptEntry>(table)[index].exchange(entry) == entry) return;
        submit_to_all(invalidate_interrupts(r));
        complete();
    }
    // The index alone is looked at.
    Message message(HostPhys, unsigned index) const override { return {local_apics, index}; }

    bool remaps_lines(unsigned io_apic_id) const override {
        return io_apic_of(io_apic_id) != nullptr;
    }
    bool blocks_lines(unsigned) const override { return false; }
    LineEntry set_line(unsigned io_apic_id, unsigned pin, unsigned vector, unsigned apic_id,
                       bool) override {
        const Ivrs::Special* s = io_apic_of(io_apic_id);
        if (s != nullptr && pin < interrupt_entries)
            set_message(s->source, line_tables[s - ivrs.specials], pin, vector, apic_id);
        return {pin, 0};
    }

    bool start_faults(unsigned apic_id, unsigned vector) override {
        PortConfig config;
        bool all = true;
        for (unsigned i = 0; i < unit_count; ++i) {
            if (!program_message(config, ivrs.units[i].self, local_apics | apic_id << 12, vector)) {
                all = false;
                continue;
            }
            const HostPhys at = boot_allocator::allocate(UnitLog::entries * sizeof(Event));
            new (log_storage[log_count])
                UnitLog{Mmio{ivrs.units[i].registers, reg::bytes}, at, direct<volatile Event>(at)};
            event_log(log_count++).start();
        }
        return all;
    }
    void set_fault_interrupts(bool on) override {
        for (unsigned i = 0; i < log_count; ++i) event_log(i).set_interrupts(on);
    }
    void begin_faults() override {
        for (unsigned i = 0; i < log_count; ++i) was_full_[i] = event_log(i).acknowledge();
    }
    bool take_fault(Fault& f) override {
        for (unsigned i = 0; i < log_count; ++i) {
            Event e;
            if (!event_log(i).take(e)) continue;
            f = fault_of(e);
            return true;
        }
        return false;
    }
    void end_faults() override {
        for (unsigned i = 0; i < log_count; ++i)
            if (was_full_[i]) event_log(i).restart();
    }
    void drop_faults() override {
        for (unsigned i = 0; i < log_count; ++i) {
            (void)event_log(i).acknowledge();
            event_log(i).restart();
        }
    }

    // Nothing is let through yet. Without a way to look them up, messages pass as they are.
    void make_tables() {
        table_ = boot_allocator::allocate(device_table_bytes);
        devices = direct<DeviceEntry>(table_);
        for (unsigned r = 0; r < 65536; ++r) {
            devices[r].block_dma();
            if (remaps_interrupts()) devices[r].block_interrupts();
        }
        for (unsigned i = 0; i < ivrs.special_count; ++i) {
            if (!ivrs.specials[i].is_io_apic) continue;
            line_tables[i] = boot_allocator::allocate(page_size);
            devices[ivrs.specials[i].source].remap_interrupts(line_tables[i]);
        }
    }

  private:
    static constexpr std::uint64_t local_apics = 0xfee0'0000;

    static void forget_messages(Requester r) {
        submit_to_all(invalidate_device(r));
        submit_to_all(invalidate_interrupts(r));
        complete();
    }

    HostPhys table_{};
    bool was_full_[Ivrs::max_units] = {};
};

constinit AmdVi the_driver;

}  // namespace

Driver* start(const acpi::Platform& platform) {
    if (platform.ivrs == nullptr) return nullptr;
    if (!parse_ivrs(platform.ivrs, platform.ivrs_bytes, ivrs)) {
        log("margay: the IVRS describes no usable IOMMU\n");
        return nullptr;
    }
    if (ivrs.left_out != 0)
        log("margay: {} entries of the IVRS are left out: more of a kind than this build expects, "
            "or of another PCI segment\n",
            ivrs.left_out);
    the_driver.make_tables();
    return &the_driver;
}

}  // namespace margay::iommu::amd_vi
