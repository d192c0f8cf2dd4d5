#include "ukernel/arch/x86_64/iommu/vtd/driver.hpp"

#include <new>

#include "proto/kernel.hpp"
#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/arch/x86_64/iommu/mmio.hpp"
#include "ukernel/arch/x86_64/iommu/port_config.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/coverage.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/dmar.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/fault_records.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/handles.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/hierarchy.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/unit.hpp"
#include "ukernel/debug/console.hpp"
#include "ukernel/debug/report.hpp"
#include "ukernel/memory/boot_allocator.hpp"
#include "ukernel/memory/direct_map.hpp"
#include "ukernel/memory/format/vtd.hpp"

namespace margay::iommu::vtd {

namespace {

using IommuUnit = Unit<Mmio>;
using UnitFaults = FaultRecords<Mmio>;

Dmar dmar;
Hierarchy hierarchy;
Coverage coverage;
alignas(IommuUnit) std::uint8_t unit_storage[Dmar::max_units][sizeof(IommuUnit)];
alignas(UnitFaults) std::uint8_t fault_storage[Dmar::max_units][sizeof(UnitFaults)];
unsigned unit_count = 0;
std::uint64_t window_bytes[Dmar::max_units];  // of all that the DMAR describes
// What every unit can do.
DmaFormat common{DmaFormat::Entries::vtd, 4, 2, guest_end};
unsigned common_domains = 65536;
bool any_remembers_absence = false, any_has_buffer = false, all_remap_interrupts = true,
     all_know_x2apic = true, all_force_snoop = true;

// What guests' memory is mapped with is 2 MiB and more: tables of smaller pages alone would not do.
bool has_large_leaves() { return common.largest_leaf != 0; }
bool can_give() { return all_remap_interrupts && has_large_leaves(); }

ContextEntry* contexts = nullptr;
InterruptEntry* interrupts = nullptr;
Handles handles;
// Whose lines have their handles, in this order.
std::uint8_t line_owners[Handles::max_io_apics];
unsigned line_owner_count = 0;

IommuUnit& unit(unsigned i) { return *std::launder(reinterpret_cast<IommuUnit*>(unit_storage[i])); }
UnitFaults& faults(unsigned i) {
    return *std::launder(reinterpret_cast<UnitFaults*>(fault_storage[i]));
}

// A unit that does not answer confines nobody.
[[noreturn]] void stop_for_unit() { stop_node("an IOMMU does not answer"); }
void submit_to_all(const Descriptor& d) {
    for (unsigned i = 0; i < unit_count; ++i) unit(i).submit(d);
}
void forget_domain(std::uint16_t domain) {
    for (unsigned i = 0; i < unit_count; ++i) unit(i).forget_domain(domain);
}
void complete() {
    for (unsigned i = 0; i < unit_count; ++i)
        if (!unit(i).complete()) stop_for_unit();
}

template <typename Entry>
void written(const Entry* e, unsigned count = 1) {
    VtdFormat::written(reinterpret_cast<const std::uint64_t*>(e), count * (sizeof(Entry) / 8));
}

// Of a function: by index, the handle.
using HandleOf = std::uint16_t;
static_assert(messages_per_function * sizeof(HandleOf) <= page_size);

class Vtd final : public Driver {
  public:
    const char* name() const override { return "VT-d"; }
    // Otherwise it only keeps everything blocked.
    unsigned kind() const override { return can_give() ? 2 : 0; }
    DmaFormat format() const override { return common; }
    unsigned domains() const override { return common_domains; }
    unsigned units() const override { return unit_count; }
    unsigned windows() const override { return dmar.unit_count; }
    HostPhys window(unsigned i, std::uint64_t& bytes) const override {
        bytes = window_bytes[i];
        return dmar.units[i].registers;
    }

    Status can_confine(Requester r) const override {
        // What interrupts past the unit is not confined.
        if (!can_give() || coverage.unit_of(r) == Dmar::no_unit || coverage.is_hidden(r))
            return Status::not_supported;
        return coverage.is_special(r) || coverage.reserved_of(r) != nullptr ? Status::in_use
                                                                            : Status::ok;
    }

    void attach(Requester r, std::uint16_t domain, HostPhys root) override {
        contexts[r].translate(domain, root, common.levels);
        written(&contexts[r]);
        // That there was none is remembered, where it is, by domain 0.
        if (any_remembers_absence) {
            submit_to_all(invalidate_context(r, 0));
            forget_domain(domain);
        }
        complete();
    }
    void detach(Requester r, std::uint16_t domain) override {
        contexts[r].block();
        written(&contexts[r]);
        submit_to_all(invalidate_context(r, domain));
        forget_domain(domain);
        complete();
    }
    void flush(std::span<const std::uint16_t> domains) override {
        for (const std::uint16_t domain : domains) forget_domain(domain);
        complete();
    }
    bool hears_of_entries() const override { return any_remembers_absence || any_has_buffer; }
    void entries_added(std::uint16_t domain) override {
        if (any_remembers_absence) forget_domain(domain);
        complete();
    }

    void open_messages(Requester, HostPhys) override {}
    // What was not released raises nothing either.
    void close_messages(Requester r, HostPhys table) override {
        for (unsigned i = 0; i < messages_per_function; ++i)
            if (handle(table, i) != Handles::none) release_message(r, table, i);
    }
    Status take_message(Requester r, HostPhys table, unsigned index) override {
        const unsigned taken = handles.take();
        if (taken == Handles::none) return Status::no_memory;
        handle(table, index) = static_cast<HandleOf>(taken);
        interrupts[taken].set_owner(r);
        written(&interrupts[taken]);
        return Status::ok;
    }
    void release_message(Requester, HostPhys table, unsigned index) override {
        HandleOf& h = handle(table, index);
        if (h == Handles::none) return;
        set(h, 0);
        handles.release(h);
        h = Handles::none;
    }
    void set_message(Requester, HostPhys table, unsigned index, unsigned vector,
                     unsigned apic_id) override {
        const unsigned h = handle(table, index);
        if (h != Handles::none)
            set(h, vector == 0 ? 0 : interrupt_entry(vector, apic_id, false, all_know_x2apic));
    }
    // The data are not looked at: there is one handle for each message.
    Message message(HostPhys table, unsigned index) const override {
        return {message_address(handle(table, index)), 0};
    }

    bool remaps_lines(unsigned io_apic_id) const override {
        return all_remap_interrupts && block_of(io_apic_id) != line_owner_count;
    }
    bool blocks_lines(unsigned io_apic_id) const override {
        const Coverage::Special* s = coverage.io_apic(io_apic_id);
        return all_remap_interrupts && block_of(io_apic_id) == line_owner_count &&
               (s == nullptr || s->unit != Dmar::no_unit);
    }
    LineEntry set_line(unsigned io_apic_id, unsigned pin, unsigned vector, unsigned apic_id,
                       bool is_level) override {
        const unsigned h = Handles::line(block_of(io_apic_id), pin);
        if (pin < Handles::lines_each)
            set(h, interrupt_entry(vector, apic_id, is_level, all_know_x2apic));
        return {line_low(vector), line_high(h)};
    }

    bool start_faults(unsigned apic_id, unsigned vector) override {
        constexpr std::uint64_t local_apics = 0xfee0'0000;
        for (unsigned i = 0; i < unit_count; ++i)
            faults(i).start(local_apics | apic_id << 12, vector);
        return true;
    }
    void set_fault_interrupts(bool on) override {
        for (unsigned i = 0; i < unit_count; ++i) faults(i).set_interrupts(on);
    }
    void begin_faults() override {}
    bool take_fault(Fault& f) override {
        for (unsigned i = 0; i < unit_count; ++i)
            if (faults(i).take(f)) return true;
        return false;
    }
    void end_faults() override {
        for (unsigned i = 0; i < unit_count; ++i) faults(i).end();
    }
    void drop_faults() override {
        for (unsigned i = 0; i < unit_count; ++i) faults(i).drop();
    }

  private:
    // line_owner_count: it has none.
    static unsigned block_of(unsigned io_apic_id) {
        unsigned i = 0;
        while (i < line_owner_count && line_owners[i] != io_apic_id) ++i;
        return i;
    }
    static HandleOf& handle(HostPhys table, unsigned index) {
        return direct<HandleOf>(table)[index];
    }
    static void set(unsigned h, std::uint64_t entry) {
        // A level-triggered line is let in again and again, to the same place.
        if (interrupts[h].low.exchange(entry) == entry) return;
        written(&interrupts[h]);
        submit_to_all(invalidate_interrupt(h));
        complete();
    }
};

constinit Vtd the_driver;

// Registers, and what the unit can do. False: it is of no use, or firmware has turned it off.
bool look_at(unsigned i) {
    const Dmar::Unit& described = dmar.units[i];
    window_bytes[i] = described.pages * std::uint64_t{page_size};
    constexpr unsigned most_bits = 52;  // of any address
    const unsigned bits = dmar.physical_bits < most_bits ? dmar.physical_bits : most_bits;
    if (described.registers.value() >> bits != 0) return false;
    Mmio registers{described.registers, reg::bytes};
    const Capabilities has{registers.read(reg::capability),
                           registers.read(reg::extended_capability)};
    if (has.is_off() || !has.has_queue() || has.levels() == 0) return false;
    const std::uint64_t bytes = has.fault_offset() + has.fault_records() * 16u;
    registers.reach(bytes);
    if (bytes > registers.bytes()) return false;
    if (registers.bytes() > window_bytes[i]) window_bytes[i] = registers.bytes();

    if (has.levels() < common.levels) common.levels = static_cast<std::uint8_t>(has.levels());
    if (has.largest_leaf() < common.largest_leaf)
        common.largest_leaf = static_cast<std::uint8_t>(has.largest_leaf());
    if (has.domains() < common_domains) common_domains = has.domains();
    if (const std::uint64_t end = 1ull << has.address_bits(); end < common.end) common.end = end;
    if (!has.is_snooped()) VtdFormat::is_snooped = false;
    any_remembers_absence = any_remembers_absence || has.remembers_absence();
    any_has_buffer = any_has_buffer || has.has_write_buffer();
    all_force_snoop = all_force_snoop && has.forces_snoop();
    all_remap_interrupts = all_remap_interrupts && has.remaps_interrupts();
    all_know_x2apic = all_know_x2apic && has.knows_x2apic();

    const HostPhys queue = boot_allocator::allocate(IommuUnit::queue_entries * sizeof(Descriptor));
    const HostPhys done = boot_allocator::allocate(page_size);
    new (unit_storage[unit_count]) IommuUnit{registers, queue, direct<Descriptor>(queue), done,
                                             direct<std::atomic<std::uint32_t>>(done)};
    new (fault_storage[unit_count]) UnitFaults{registers, has};
    ++unit_count;
    return true;
}

bool look_at_all() {
    for (unsigned i = 0; i < dmar.unit_count; ++i) {
        if (look_at(i)) continue;
        log("margay: the IOMMU at {x} is off, or cannot be driven: nothing confines its devices\n",
            dmar.units[i].registers.value());
        dmar.leave_out(static_cast<std::uint8_t>(i));
    }
    // Tables of as many levels, all units have.
    for (unsigned i = 0; i < unit_count; ++i)
        if (!unit(i).capabilities().has_levels(common.levels)) return false;
    const std::uint64_t reach = 1ull << (12 + 9 * common.levels);
    if (reach < common.end) common.end = reach;
    if (all_force_snoop) VtdFormat::snoop = VtdFormat::force_snoop;
    all_remap_interrupts = all_remap_interrupts && dmar.remaps_interrupts;
    all_know_x2apic = all_know_x2apic && apic::is_x2apic();
    return unit_count != 0;
}

HostPhys make_contexts() {
    const HostPhys root = boot_allocator::allocate(page_size);
    const HostPhys at = boot_allocator::allocate(context_bytes);
    contexts = direct<ContextEntry>(at);
    auto* entries = direct<RootEntry>(root);
    constexpr unsigned per_bus = 256;
    for (unsigned bus = 0; bus < 256; ++bus)
        entries[bus] = root_entry(at + bus * per_bus * sizeof(ContextEntry));
    written(entries, 256);
    written(contexts, context_entries);
    return root;
}

// Every line of every I/O APIC whose messages a unit sees has an entry, its own.
HostPhys make_interrupts() {
    const HostPhys at = boot_allocator::allocate(interrupt_table_bytes);
    interrupts = direct<InterruptEntry>(at);
    for (unsigned id = 0; id < 256; ++id) {
        const Coverage::Special* s = coverage.io_apic(id);
        if (s == nullptr || s->unit == Dmar::no_unit || line_owner_count == Handles::max_io_apics)
            continue;
        for (unsigned pin = 0; pin < Handles::lines_each; ++pin)
            interrupts[Handles::line(line_owner_count, pin)].set_owner(s->source);
        line_owners[line_owner_count++] = static_cast<std::uint8_t>(id);
    }
    written(interrupts, interrupt_entries);
    return at;
}

}  // namespace

Driver* start(const acpi::Platform& platform) {
    if (platform.dmar == nullptr) return nullptr;
    if (!parse_dmar(platform.dmar, platform.dmar_bytes, dmar) || !look_at_all()) {
        log("margay: the DMAR describes no usable IOMMU\n");
        return nullptr;
    }
    PortConfig config;
    Scan{config, hierarchy}.run(start_buses(dmar));
    coverage.build(dmar, hierarchy);
    if (dmar.left_out + coverage.left_out() != 0)
        log("margay: {} entries of the DMAR are left out: more of a kind than this build expects, "
            "of another PCI segment, or of functions that are not there\n",
            dmar.left_out + coverage.left_out());
    if (!all_remap_interrupts)
        log("margay: the IOMMU does not remap interrupts: no device can be given\n");
    if (!has_large_leaves())
        log("margay: the IOMMU has no pages of 2 MiB: no device can be given\n");
    if (dmar.opts_out_of_x2apic && apic::is_x2apic())
        log("margay: the DMAR asks not to use x2APIC, which is in use\n");
    const HostPhys root = make_contexts();
    const HostPhys table = all_remap_interrupts ? make_interrupts() : HostPhys{};
    for (unsigned i = 0; i < unit_count; ++i)
        if (!unit(i).enable(root, table, all_know_x2apic)) stop_for_unit();
    return &the_driver;
}

}  // namespace margay::iommu::vtd
