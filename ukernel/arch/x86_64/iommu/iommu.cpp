#include "ukernel/arch/x86_64/iommu/iommu.hpp"

#include <new>

#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/arch/x86_64/instructions.hpp"
#include "ukernel/arch/x86_64/iommu/events.hpp"
#include "ukernel/core/measure.hpp"
#include "ukernel/core/spin_lock.hpp"
#include "ukernel/debug/console.hpp"
#include "ukernel/debug/report.hpp"
#include "ukernel/memory/boot_allocator.hpp"
#include "ukernel/memory/direct_map.hpp"
#include "ukernel/memory/kernel_tables.hpp"

namespace margay::iommu {

namespace {

class Mmio {
  public:
    explicit Mmio(HostPhys base) {
        // The pages of the window follow each other.
        page_ = static_cast<volatile std::uint8_t*>(kernel_tables::map_device(base));
        for (unsigned at = 4096; at < amd_vi::reg::bytes; at += 4096)
            kernel_tables::map_device(base + at);
    }
    std::uint64_t read(unsigned offset) const {
        return *reinterpret_cast<volatile std::uint64_t*>(page_ + offset);
    }
    void write(unsigned offset, std::uint64_t value) const {
        *reinterpret_cast<volatile std::uint64_t*>(page_ + offset) = value;
    }
    void pause() const { measure::pause(); }

  private:
    volatile std::uint8_t* page_;
};
using Unit = amd_vi::Unit<Mmio>;
using EventLog = amd_vi::EventLog<Mmio>;

// Configuration space by ports, before anybody else uses them.
struct PortConfig {
    static constexpr std::uint16_t index = 0xcf8, data = 0xcfc;
    static void select(Requester r, unsigned offset) {
        cpu::out32(index, 1u << 31 | static_cast<std::uint32_t>(r) << 8 | offset);
    }
    static std::uint32_t read(Requester r, unsigned offset) {
        select(r, offset);
        return cpu::in32(data);
    }
    static void write(Requester r, unsigned offset, std::uint32_t value) {
        select(r, offset);
        cpu::out32(data, value);
    }
};

Ivrs ivrs;
alignas(Unit) std::uint8_t unit_storage[Ivrs::max_units][sizeof(Unit)];
unsigned unit_count = 0;
alignas(EventLog) std::uint8_t log_storage[Ivrs::max_units][sizeof(EventLog)];
unsigned log_count = 0;
amd_vi::EventReports reports;
amd_vi::DeviceEntry* devices = nullptr;
amd_vi::InterruptEntry* line_tables[Ivrs::max_specials] = {};
std::uint64_t domains_taken[65536 / 64] = {1};
// Over the units' rings and the numbers. It is held while a unit does what it was told: microseconds.
SpinLock lock;

Unit& unit(unsigned i) { return *std::launder(reinterpret_cast<Unit*>(unit_storage[i])); }

EventLog& event_log(unsigned i) {
    return *std::launder(reinterpret_cast<EventLog*>(log_storage[i]));
}

void set_event_interrupts(bool on) {
    for (unsigned i = 0; i < log_count; ++i) event_log(i).set_interrupts(on);
}

// Whoever gives devices or takes them wants to hear of them. What was not told meanwhile is not told.
void look_after_events() {
    if (!reports.begin()) return;
    for (unsigned i = 0; i < log_count; ++i) {
        (void)event_log(i).acknowledge();
        event_log(i).restart();
    }
    set_event_interrupts(true);
}

void report(const amd_vi::Event& e) {
    using Code = amd_vi::Event::Code;
    const Requester r = e.requester();
    const std::uint64_t n = reports.tell(r);
    if (n == 0) return;
    const char* what = "is described wrongly, or made a request that cannot be";
    switch (e.code()) {
    case Code::page_fault:
        what = e.was_interrupt() ? "was kept from interrupting"
               : e.was_write()   ? "was kept from writing"
                                 : "was kept from reading";
        break;
    case Code::device_table_error:
    case Code::page_table_error: what = "has tables that the IOMMU cannot read"; break;
    case Code::invalidation_timeout: what = "does not forget addresses when it is told to"; break;
    case Code::illegal_command:
    case Code::command_error: return log("margay: an IOMMU refuses a command\n");
    default: break;
    }
    log("margay: device {x}:{x}.{} {} at {x}, {} times so far\n", r >> 8, r >> 3 & 31, r & 7, what,
        e.address(), n);
}

void submit_to_all(const amd_vi::Command& c) {
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

void start_lines() {
    for (unsigned i = 0; i < ivrs.special_count; ++i) {
        if (!ivrs.specials[i].is_io_apic) continue;
        const HostPhys table = boot_allocator::allocate(4096);
        line_tables[i] = direct<amd_vi::InterruptEntry>(table);
        devices[ivrs.specials[i].source].remap_interrupts(table);
    }
}

}  // namespace

void start(const acpi::Platform& platform) {
    if (platform.ivrs == nullptr) return;
    if (!parse_ivrs(platform.ivrs, platform.ivrs_bytes, ivrs)) {
        log("margay: the IVRS describes no usable IOMMU\n");
        return;
    }
    if (ivrs.left_out != 0)
        log("margay: {} entries of the IVRS are left out: more of a kind than this build expects, "
            "or of another PCI segment\n",
            ivrs.left_out);
    const HostPhys table = boot_allocator::allocate(amd_vi::device_table_bytes);
    devices = direct<amd_vi::DeviceEntry>(table);
    for (unsigned r = 0; r < 65536; ++r) {
        devices[r].block_dma();
        devices[r].block_interrupts();
    }
    start_lines();
    for (unsigned i = 0; i < ivrs.unit_count; ++i) {
        const HostPhys ring =
            boot_allocator::allocate(Unit::ring_entries * sizeof(amd_vi::Command));
        const HostPhys done = boot_allocator::allocate(4096);
        new (unit_storage[i])
            Unit{Mmio{ivrs.units[i].registers}, ring, direct<amd_vi::Command>(ring), done,
                 direct<std::atomic<std::uint64_t>>(done)};
        unit(i).enable(table, ivrs.units[i].flags);
        ++unit_count;
    }
    complete();
    log("margay: {} IOMMU (AMD-Vi): DMA and interrupts of devices are blocked until granted\n",
        unit_count);
}

void start_events(unsigned apic_id) {
    // What interrupts is no message that is remapped: the unit itself sends it.
    constexpr std::uint64_t local_apics = 0xfee0'0000;
    constexpr unsigned largest_apic_id = 254;
    if (unit_count == 0 || apic_id > largest_apic_id) return;
    PortConfig config;
    for (unsigned i = 0; i < unit_count; ++i) {
        if (!amd_vi::program_message(config, ivrs.units[i].self, local_apics | apic_id << 12,
                                     apic::vector::iommu)) {
            log("margay: an IOMMU cannot tell what it has kept from happening\n");
            continue;
        }
        const HostPhys at = boot_allocator::allocate(EventLog::entries * sizeof(amd_vi::Event));
        new (log_storage[log_count])
            EventLog{Mmio{ivrs.units[i].registers}, at, direct<volatile amd_vi::Event>(at)};
        event_log(log_count++).start();
    }
    set_event_interrupts(true);
}

void serve_events() {
    const SpinGuard guard{lock};
    for (unsigned i = 0; i < log_count; ++i) {
        EventLog& from = event_log(i);
        const bool was_full = from.acknowledge();
        amd_vi::Event e;
        while (!reports.is_exhausted() && from.take(e)) {
            reports.take();
            report(e);
        }
        if (was_full) from.restart();
    }
    if (!reports.is_exhausted()) return;
    set_event_interrupts(false);
    log("margay: what else devices are kept from is not told until one is given or taken\n");
}

bool is_present() { return unit_count != 0; }
std::span<const Ivrs::Unit> units() { return {ivrs.units, unit_count}; }

Status can_confine(Requester r) {
    if (unit_count == 0) return Status::not_supported;
    const Ivrs::Range* range = ivrs.range_of(r);
    if (range == nullptr || range->aliased) return Status::not_supported;
    for (unsigned i = 0; i < unit_count; ++i)
        if (ivrs.units[i].self == r) return Status::in_use;
    for (unsigned i = 0; i < ivrs.special_count; ++i)
        if (ivrs.specials[i].source == r) return Status::in_use;
    return ivrs.reserved_of(r) != nullptr ? Status::in_use : Status::ok;
}

Status take_domain(std::uint16_t& id) {
    const SpinGuard guard{lock};
    for (unsigned word = 0; word < 65536 / 64; ++word) {
        if (domains_taken[word] == ~0ull) continue;
        const unsigned bit = static_cast<unsigned>(__builtin_ctzll(~domains_taken[word]));
        domains_taken[word] |= 1ull << bit;
        id = static_cast<std::uint16_t>(word * 64 + bit);
        return Status::ok;
    }
    return Status::no_memory;
}

void release_domain(std::uint16_t id) {
    const SpinGuard guard{lock};
    domains_taken[id / 64] &= ~(1ull << id % 64);
}

void attach(Requester r, std::uint16_t domain, HostPhys root) {
    const SpinGuard guard{lock};
    look_after_events();
    devices[r].translate(domain, root);
    submit_to_all(amd_vi::invalidate_device(r));
    complete();
}

void detach(Requester r, std::uint16_t domain) {
    const SpinGuard guard{lock};
    look_after_events();
    devices[r].block_dma();
    submit_to_all(amd_vi::invalidate_device(r));
    submit_to_all(amd_vi::invalidate_domain(domain));
    complete();
}

void flush(std::span<const std::uint16_t> domains) {
    if (domains.empty()) return;
    const SpinGuard guard{lock};
    for (const std::uint16_t domain : domains) submit_to_all(amd_vi::invalidate_domain(domain));
    complete();
}

void remap_interrupts(Requester r, HostPhys table) {
    const SpinGuard guard{lock};
    devices[r].remap_interrupts(table);
    submit_to_all(amd_vi::invalidate_device(r));
    submit_to_all(amd_vi::invalidate_interrupts(r));
    complete();
}

void block_interrupts(Requester r) {
    const SpinGuard guard{lock};
    devices[r].block_interrupts();
    submit_to_all(amd_vi::invalidate_device(r));
    submit_to_all(amd_vi::invalidate_interrupts(r));
    complete();
}

void set_message(Requester r, amd_vi::InterruptEntry* table, unsigned index, unsigned vector,
                 unsigned apic_id) {
    const std::uint32_t entry = vector == 0 ? 0 : amd_vi::interrupt_entry(vector, apic_id);
    const SpinGuard guard{lock};
    // A level-triggered line is let in again and again, to the same place.
    if (table[index].exchange(entry) == entry) return;
    submit_to_all(amd_vi::invalidate_interrupts(r));
    complete();
}

bool remaps_lines(unsigned io_apic_id) {
    return unit_count != 0 && io_apic_of(io_apic_id) != nullptr;
}

void set_line(unsigned io_apic_id, unsigned pin, unsigned vector, unsigned apic_id) {
    const Ivrs::Special* s = io_apic_of(io_apic_id);
    if (s == nullptr || pin >= amd_vi::interrupt_entries) return;
    set_message(s->source, line_tables[s - ivrs.specials], pin, vector, apic_id);
}

}  // namespace margay::iommu
