#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <vector>

#include "iommu_model.hpp"
#include "proto/kernel.hpp"
#include "ukernel/memory/direct_map.hpp"
#include "ukernel/memory/format/amd_vi.hpp"

namespace margay {

namespace {

// What the kernel never does.
void check(bool good, const char* what) {
    if (good) return;
    std::fprintf(stderr, "IOMMU model: %s: false\n", what);
    std::abort();
}

struct Attachment {
    std::uint16_t domain;
    HostPhys root;
};
iommu_model::Entries kind;
bool present = false, remaps = true;
unsigned looked = 0, levels = 4, most_messages = 1000;
std::map<iommu::Requester, Attachment> attached;
std::map<iommu::Requester, HostPhys> tables;
std::set<std::uint16_t> taken;
struct Entry {
    iommu::Requester requester;
    unsigned index, vector, apic_id;
};
std::vector<Entry> entries;  // that are taken
// Leaves that were found, by domain and page.
struct Found {
    HostPhys page;
    bool reads, writes;
};
std::map<std::pair<std::uint16_t, std::uint64_t>, Found> cache;

std::optional<Found> walk_amd_vi(HostPhys table, std::uint64_t address) {
    for (unsigned level = levels; level != 0;) {
        const std::uint64_t entry = direct<std::uint64_t>(table)[address >> (3 + 9 * level) & 511];
        if ((entry & AmdViFormat::present) == 0) return std::nullopt;
        const unsigned next = AmdViFormat::next_level(entry);
        const HostPhys to{entry & AmdViFormat::address_mask};
        if (next == 0) {
            const std::uint64_t page = 1ull << (3 + 9 * level);
            return Found{to + (address & (page - 1) & ~std::uint64_t{4095}),
                         (entry & AmdViFormat::read) != 0, (entry & AmdViFormat::write) != 0};
        }
        check(next < level, "levels may be skipped, not climbed");
        table = to;
        level = next;
    }
    return std::nullopt;
}

// Rights are the conjunction of all on the way.
std::optional<Found> walk_vtd(HostPhys table, std::uint64_t address) {
    std::uint64_t rights = 3;
    for (unsigned level = levels; level != 0; --level) {
        const std::uint64_t entry = direct<std::uint64_t>(table)[address >> (3 + 9 * level) & 511];
        rights &= entry;
        if ((entry & 3) == 0) return std::nullopt;
        const HostPhys to{entry & 0x000f'ffff'ffff'f000};
        const bool is_large = (entry >> 7 & 1) != 0;
        check(!is_large || (level > 1 && level < 4), "pages have 4 KiB, 2 MiB or 1 GiB");
        if (level == 1 || is_large) {
            const std::uint64_t page = 1ull << (3 + 9 * level);
            check(is_aligned(to.value(), page), "no reserved bits");
            return Found{to + (address & (page - 1) & ~std::uint64_t{4095}), (rights & 1) != 0,
                         (rights & 2) != 0};
        }
        table = to;
    }
    return std::nullopt;
}

Entry* find_message(iommu::Requester r, unsigned index) {
    for (Entry& e : entries)
        if (e.requester == r && e.index == index) return &e;
    return nullptr;
}

}  // namespace

namespace iommu_model {

void reset(bool is_there, Entries entries_of, unsigned level_count) {
    present = is_there;
    remaps = true;
    kind = entries_of;
    levels = level_count;
    most_messages = 1000;
    attached.clear();
    tables.clear();
    entries.clear();
    cache.clear();
    taken = {0};
}

void pass_messages() { remaps = false; }

void allow_messages(unsigned count) { most_messages = count; }

std::optional<HostPhys> reach(iommu::Requester r, std::uint64_t address, bool writes) {
    const auto found = attached.find(r);
    if (found == attached.end() || address >> (12 + 9 * levels) != 0) return std::nullopt;
    const auto [domain, root] = found->second;
    const auto key = std::pair{domain, address >> 12};
    if (!cache.contains(key)) {
        const auto leaf =
            kind == Entries::vtd ? walk_vtd(root, address) : walk_amd_vi(root, address);
        if (!leaf) return std::nullopt;  // nothing that is not there is remembered
        cache.emplace(key, *leaf);
    }
    const Found& leaf = cache.at(key);
    if (!(writes ? leaf.writes : leaf.reads)) return std::nullopt;
    return leaf.page + (address & 4095);
}

std::optional<Interrupt> message(iommu::Requester r, unsigned index) {
    const Entry* e = find_message(r, index);
    if (e == nullptr || e->vector == 0) return std::nullopt;
    return Interrupt{e->vector, e->apic_id};
}

unsigned domains() { return static_cast<unsigned>(taken.size()) - 1; }
unsigned messages() { return static_cast<unsigned>(entries.size()); }

unsigned looks() { return looked; }

}  // namespace iommu_model

namespace iommu {

void serve_faults() { ++looked; }
// Nobody is to keep away from its registers.
const Driver* driver() { return nullptr; }
bool is_present() { return present; }
bool remaps_interrupts() { return present && remaps; }
std::span<const FirmwareMemory> firmware_memory() { return {}; }
DmaFormat dma_format() {
    return {kind, static_cast<std::uint8_t>(levels), 2,
            guest_end < 1ull << (12 + 9 * levels) ? guest_end : 1ull << (12 + 9 * levels)};
}

Status can_confine(Requester r) {
    if (!present || r < 8 || r > 0xff) return Status::not_supported;
    return r == 0x20 ? Status::in_use : Status::ok;
}

Status take_domain(std::uint16_t& id) {
    for (id = 1; taken.contains(id); ++id) {}
    taken.insert(id);
    return Status::ok;
}
void release_domain(std::uint16_t id) {
    for (const auto& [r, a] : attached) check(a.domain != id, "a device is attached to it");
    for (const auto& [key, leaf] : cache) check(key.first != id, "translations are left");
    check(taken.erase(id) == 1, "a number that was taken");
}

void attach(Requester r, std::uint16_t domain, HostPhys root) {
    check(!attached.contains(r), "attached once");
    attached[r] = {domain, root};
}
void detach(Requester r, std::uint16_t domain) {
    check(attached.erase(r) == 1, "it was attached");
    flush({&domain, 1});
}
void flush(std::span<const std::uint16_t> domains) {
    for (const std::uint16_t domain : domains)
        std::erase_if(cache, [domain](const auto& e) { return e.first.first == domain; });
}
bool blocks_lines(unsigned) { return false; }
void entries_added(std::uint16_t domain) { check(taken.contains(domain), "it has a number"); }

void open_messages(Requester r, HostPhys table) {
    check(remaps, "messages are looked up");
    for (unsigned i = 0; i < 4096; ++i)
        check(direct<std::uint8_t>(table)[i] == 0, "the driver's page is zero");
    tables[r] = table;
}
void close_messages(Requester r, HostPhys table) {
    check(tables.at(r) == table && tables.erase(r) == 1, "its own table");
    std::erase_if(entries, [r](const Entry& e) { return e.requester == r; });
}
Status take_message(Requester r, HostPhys table, unsigned index) {
    check(remaps && tables.at(r) == table && index < messages_per_function, "its own table");
    check(find_message(r, index) == nullptr, "taken once");
    if (entries.size() >= most_messages) return Status::no_memory;
    entries.push_back({r, index, 0, 0});
    return Status::ok;
}
void release_message(Requester r, HostPhys, unsigned index) {
    const Entry* e = find_message(r, index);
    check(e != nullptr, "it was taken");
    entries.erase(entries.begin() + (e - entries.data()));
}
void set_message(Requester r, HostPhys table, unsigned index, unsigned vector, unsigned apic_id) {
    check(tables.at(r) == table, "its own table");
    Entry* e = find_message(r, index);
    check(e != nullptr, "it was taken");
    e->vector = vector;
    e->apic_id = apic_id;
}
Message message(HostPhys, unsigned index) { return {0xfee0'0000, index}; }

}  // namespace iommu

}  // namespace margay
