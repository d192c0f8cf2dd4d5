#include "ukernel/arch/x86_64/iommu/iommu.hpp"

#include "ukernel/arch/x86_64/apic.hpp"
#include "ukernel/arch/x86_64/iommu/amd_vi/driver.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/driver.hpp"
#include "ukernel/core/spin_lock.hpp"
#include "ukernel/debug/console.hpp"
#include "ukernel/memory/boot_allocator.hpp"
#include "ukernel/memory/direct_map.hpp"

namespace margay::iommu {

namespace {

Driver* chosen = nullptr;
FaultReports reports;
std::uint64_t domains_taken[65536 / 64] = {1};
// Over the driver and the numbers. It is held while a unit does what it was told: microseconds.
SpinLock lock;

void report(const Fault& f) {
    using Kind = Fault::Kind;
    if (f.kind == Kind::bad_command) return log("margay: an IOMMU refuses a command\n");
    const std::uint64_t n = reports.tell(f.requester);
    if (n == 0) return;
    const char* what = "is described wrongly, or made a request that cannot be";
    switch (f.kind) {
    case Kind::read: what = "was kept from reading"; break;
    case Kind::write: what = "was kept from writing"; break;
    case Kind::interrupt: what = "was kept from interrupting"; break;
    case Kind::bad_tables: what = "has tables that the IOMMU cannot read"; break;
    case Kind::does_not_forget: what = "does not forget addresses when it is told to"; break;
    case Kind::bad_request:
    case Kind::bad_command: break;
    }
    const Requester r = f.requester;
    log("margay: device {x}:{x}.{} {} at {x}, {} times so far\n", r >> 8, r >> 3 & 31, r & 7, what,
        f.address, n);
}

void take_faults() {
    chosen->begin_faults();
    Fault f;
    while (!reports.is_exhausted() && chosen->take_fault(f)) {
        reports.take();
        report(f);
    }
    chosen->end_faults();
    if (!reports.is_exhausted()) return;
    chosen->set_fault_interrupts(false);
    log("margay: what else devices are kept from is not told until one is given or taken\n");
}

// What was there before interrupts nobody: only the first one does.
void listen() {
    chosen->set_fault_interrupts(true);
    take_faults();
}

// --- memory that firmware uses

FirmwareMemory of_firmware[most_firmware_memory];
unsigned of_firmware_count = 0;

struct BootFrames {
    std::uint64_t* table(HostPhys p) const { return direct<std::uint64_t>(p); }
    // The node starts without these tables as well.
    std::optional<HostPhys> allocate() {
        constexpr std::uint64_t left_to_others = 1 << 20;
        if (boot_allocator::left() < left_to_others) return std::nullopt;
        return boot_allocator::allocate(page_size);
    }
    void release(HostPhys) {}
};

void report(const FirmwareMemory& m, const char* what) {
    const Requester r = m.function;
    log("margay: firmware uses memory {x} to {x} through device {x}:{x}.{}: {}\n", m.begin.value(),
        m.end.value() - 1, r >> 8, r >> 3 & 31, r & 7, what);
}

void let_firmware_through(const MemoryMap& memory) {
    const unsigned all = chosen->firmware_memory(of_firmware);
    of_firmware_count = all < most_firmware_memory ? all : most_firmware_memory;
    BootFrames frames;
    FirmwareSpaces<BootFrames> spaces{frames, chosen->format(), memory};
    using Answer = FirmwareSpaces<BootFrames>::Answer;
    for (unsigned i = 0; i < of_firmware_count; ++i) {
        switch (spaces.let_through(of_firmware[i])) {
        case Answer::ok: report(of_firmware[i], "it stays with the node"); break;
        case Answer::is_ram: report(of_firmware[i], "that is RAM, it is blocked"); break;
        case Answer::unmappable: report(of_firmware[i], "that cannot be, it is blocked"); break;
        case Answer::no_room: report(of_firmware[i], "no room for that, it is blocked"); break;
        }
    }
    if (all > of_firmware_count)
        log("margay: {} more functions through which firmware uses memory are blocked\n",
            all - of_firmware_count);
    for (const auto& s : spaces.spaces()) {
        std::uint16_t domain = 0;
        if (take_domain(domain) == Status::ok)
            chosen->let_through(s.function, domain, s.root);
        else
            log("margay: no number for what firmware uses: it is blocked\n");
    }
}

// Whoever gives devices or takes them wants to hear of them. What was not told meanwhile is not told.
void look_after_faults() {
    if (!reports.begin()) return;
    chosen->drop_faults();
    listen();
}

}  // namespace

void start(const acpi::Platform& platform, const MemoryMap& memory) {
    chosen = amd_vi::start(platform);
    if (chosen == nullptr) chosen = vtd::start(platform);
    if (chosen == nullptr) return;
    let_firmware_through(memory);
    chosen->enable();
    log("margay: {} IOMMU ({}, {} bits): {} of devices are blocked until granted\n",
        chosen->units(), chosen->name(), 63 - __builtin_clzll(chosen->format().end),
        chosen->remaps_interrupts() ? "DMA and interrupts" : "DMA, but not interrupts,");
}

const Driver* driver() { return chosen; }
bool is_present() { return chosen != nullptr; }
bool remaps_interrupts() { return chosen != nullptr && chosen->remaps_interrupts(); }
std::span<const FirmwareMemory> firmware_memory() { return {of_firmware, of_firmware_count}; }

void start_faults(unsigned apic_id) {
    // What interrupts is no message that is remapped: the unit itself sends it.
    constexpr unsigned largest_apic_id = 254;
    if (chosen == nullptr || apic_id > largest_apic_id) return;
    if (!chosen->start_faults(apic_id, apic::vector::iommu))
        log("margay: an IOMMU cannot tell what it has kept from happening\n");
    const SpinGuard guard{lock};
    listen();
}

void serve_faults() {
    const SpinGuard guard{lock};
    take_faults();
}

Status can_confine(Requester r) {
    return chosen == nullptr ? Status::not_supported : chosen->can_confine(r);
}

Status take_domain(std::uint16_t& id) {
    const SpinGuard guard{lock};
    for (unsigned n = 0; n < chosen->domains(); n += 64) {
        std::uint64_t& taken = domains_taken[n / 64];
        if (taken == ~0ull) continue;
        const unsigned bit = static_cast<unsigned>(__builtin_ctzll(~taken));
        if (n + bit >= chosen->domains()) break;
        taken |= 1ull << bit;
        id = static_cast<std::uint16_t>(n + bit);
        return Status::ok;
    }
    return Status::no_memory;
}

void release_domain(std::uint16_t id) {
    const SpinGuard guard{lock};
    domains_taken[id / 64] &= ~(1ull << id % 64);
}

DmaFormat dma_format() { return chosen->format(); }

void attach(Requester r, std::uint16_t domain, HostPhys root) {
    const SpinGuard guard{lock};
    look_after_faults();
    chosen->attach(r, domain, root);
}

void detach(Requester r, std::uint16_t domain) {
    const SpinGuard guard{lock};
    look_after_faults();
    chosen->detach(r, domain);
}

void flush(std::span<const std::uint16_t> domains) {
#ifdef MARGAY_NO_DMA_FLUSH
    domains = {};
#endif
    if (domains.empty()) return;
    const SpinGuard guard{lock};
    chosen->flush(domains);
}

void entries_added(std::uint16_t domain) {
    if (!chosen->hears_of_entries()) return;
    const SpinGuard guard{lock};
    chosen->entries_added(domain);
}

void open_messages(Requester r, HostPhys table) {
    const SpinGuard guard{lock};
    chosen->open_messages(r, table);
}

void close_messages(Requester r, HostPhys table) {
    const SpinGuard guard{lock};
    chosen->close_messages(r, table);
}

Status take_message(Requester r, HostPhys table, unsigned index) {
    const SpinGuard guard{lock};
    return chosen->take_message(r, table, index);
}

void release_message(Requester r, HostPhys table, unsigned index) {
    const SpinGuard guard{lock};
    chosen->release_message(r, table, index);
}

void set_message(Requester r, HostPhys table, unsigned index, unsigned vector, unsigned apic_id) {
    const SpinGuard guard{lock};
    chosen->set_message(r, table, index, vector, apic_id);
}

Message message(HostPhys table, unsigned index) { return chosen->message(table, index); }

bool remaps_lines(unsigned io_apic_id) {
    return chosen != nullptr && chosen->remaps_lines(io_apic_id);
}

bool blocks_lines(unsigned io_apic_id) {
    return chosen != nullptr && chosen->blocks_lines(io_apic_id);
}

LineEntry set_line(unsigned io_apic_id, unsigned pin, unsigned vector, unsigned apic_id,
                   bool is_level) {
    const SpinGuard guard{lock};
    return chosen->set_line(io_apic_id, pin, vector, apic_id, is_level);
}

}  // namespace margay::iommu
