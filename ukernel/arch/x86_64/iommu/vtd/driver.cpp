#include "ukernel/arch/x86_64/iommu/vtd/driver.hpp"

#include "proto/kernel.hpp"
#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/arch/x86_64/iommu/port_config.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/coverage.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/dmar.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/handles.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/hierarchy.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/units.hpp"
#include "ukernel/debug/console.hpp"
#include "ukernel/memory/boot_allocator.hpp"
#include "ukernel/memory/direct_map.hpp"
#include "ukernel/memory/format/vtd.hpp"

namespace margay::iommu::vtd {

namespace {

Dmar dmar;
Hierarchy hierarchy;
Coverage coverage;
Units all;

// What guests' memory is mapped with is 2 MiB and more: tables of smaller pages alone would not do.
bool can_give() { return all.format.largest_leaf != 0; }

ContextEntry* contexts = nullptr;
InterruptEntry* interrupts = nullptr;
Handles handles;
// Whose lines have their handles, in this order.
std::uint8_t line_owners[Handles::max_io_apics];
unsigned line_owner_count = 0;

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
    DmaFormat format() const override { return all.format; }
    unsigned domains() const override { return all.domains; }
    unsigned units() const override { return all.count(); }
    unsigned windows() const override { return dmar.unit_count; }
    HostPhys window(unsigned i, std::uint64_t& bytes) const override {
        bytes = all.window_bytes(i);
        return dmar.units[i].registers;
    }

    bool remaps_interrupts() const override { return all.all_remap_interrupts; }

    unsigned firmware_memory(std::span<FirmwareMemory> found) const override {
        return coverage.firmware_memory(found);
    }
    void let_through(Requester r, std::uint16_t domain, HostPhys root) override {
        contexts[r].translate(domain, root, all.format.levels);
        written(&contexts[r]);
    }
    void enable() override { all.enable(root_, table_); }

    Status can_confine(Requester r) const override {
        if (!can_give() || coverage.unit_of(r) == Dmar::no_unit || coverage.is_hidden(r))
            return Status::not_supported;
        return coverage.is_special(r) || coverage.reserved_of(r) != nullptr ? Status::in_use
                                                                            : Status::ok;
    }

    void attach(Requester r, std::uint16_t domain, HostPhys root) override {
        let_through(r, domain, root);
        // That there was none is remembered, where it is, by domain 0.
        if (all.any_remembers_absence) {
            all.submit(invalidate_context(r, 0));
            all.forget_domain(domain);
        }
        all.complete();
    }
    void detach(Requester r, std::uint16_t domain) override {
        contexts[r].block();
        written(&contexts[r]);
        all.submit(invalidate_context(r, domain));
        all.forget_domain(domain);
        all.complete();
    }
    void flush(std::span<const std::uint16_t> domains) override {
        for (const std::uint16_t domain : domains) all.forget_domain(domain);
        all.complete();
    }
    bool hears_of_entries() const override {
        return all.any_remembers_absence || all.any_has_buffer;
    }
    void entries_added(std::uint16_t domain) override {
        if (all.any_remembers_absence) all.forget_domain(domain);
        all.complete();
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
            set(h, vector == 0 ? 0 : interrupt_entry(vector, apic_id, false, all.all_know_x2apic));
    }
    // The data are not looked at: there is one handle for each message.
    Message message(HostPhys table, unsigned index) const override {
        return {message_address(handle(table, index)), 0};
    }

    bool remaps_lines(unsigned io_apic_id) const override {
        return all.all_remap_interrupts && block_of(io_apic_id) != line_owner_count;
    }
    bool blocks_lines(unsigned io_apic_id) const override {
        const Coverage::Special* s = coverage.io_apic(io_apic_id);
        return all.all_remap_interrupts && block_of(io_apic_id) == line_owner_count &&
               (s == nullptr || s->unit != Dmar::no_unit);
    }
    LineEntry set_line(unsigned io_apic_id, unsigned pin, unsigned vector, unsigned apic_id,
                       bool is_level) override {
        const unsigned h = Handles::line(block_of(io_apic_id), pin);
        if (pin < Handles::lines_each)
            set(h, interrupt_entry(vector, apic_id, is_level, all.all_know_x2apic));
        return {line_low(vector), line_high(h)};
    }

    bool start_faults(unsigned apic_id, unsigned vector) override {
        constexpr std::uint64_t local_apics = 0xfee0'0000;
        for (unsigned i = 0; i < all.count(); ++i)
            all.faults(i).start(local_apics | apic_id << 12, vector);
        return true;
    }
    void set_fault_interrupts(bool on) override {
        for (unsigned i = 0; i < all.count(); ++i) all.faults(i).set_interrupts(on);
    }
    void begin_faults() override {}
    bool take_fault(Fault& f) override {
        for (unsigned i = 0; i < all.count(); ++i)
            if (all.faults(i).take(f)) return true;
        return false;
    }
    void end_faults() override {
        for (unsigned i = 0; i < all.count(); ++i) all.faults(i).end();
    }
    void drop_faults() override {
        for (unsigned i = 0; i < all.count(); ++i) all.faults(i).drop();
    }

    void use_tables(HostPhys root, HostPhys interrupt_table) {
        root_ = root;
        table_ = interrupt_table;
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
        all.submit(invalidate_interrupt(h));
        all.complete();
    }

    HostPhys root_{}, table_{};  // of contexts, and of interrupts: 0 if those pass as they are
};

constinit Vtd the_driver;

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
    if (!parse_dmar(platform.dmar, platform.dmar_bytes, dmar) || !all.find(dmar)) {
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
    if (!can_give()) log("margay: the IOMMU has no pages of 2 MiB: no device can be given\n");
    if (dmar.opts_out_of_x2apic && apic::is_x2apic())
        log("margay: the DMAR asks not to use x2APIC, which is in use\n");
    the_driver.use_tables(make_contexts(),
                          all.all_remap_interrupts ? make_interrupts() : HostPhys{});
    return &the_driver;
}

}  // namespace margay::iommu::vtd
