#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>

#include "iommu_model.hpp"
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
bool present = false;
unsigned looked = 0;
std::map<iommu::Requester, Attachment> attached;
std::map<iommu::Requester, iommu::amd_vi::InterruptEntry*> tables;
std::set<std::uint16_t> taken;
// Leaves that were found, by domain and page.
std::map<std::pair<std::uint16_t, std::uint64_t>, std::uint64_t> cache;

std::uint64_t walk(HostPhys table, std::uint64_t address) {
    for (unsigned level = iommu::amd_vi::DeviceEntry::levels; level != 0;) {
        const std::uint64_t entry = direct<std::uint64_t>(table)[address >> (3 + 9 * level) & 511];
        if ((entry & AmdViFormat::present) == 0) return 0;
        const unsigned next = AmdViFormat::next_level(entry);
        const HostPhys to{entry & AmdViFormat::address_mask};
        if (next == 0) {
            const std::uint64_t page = 1ull << (3 + 9 * level);
            return entry + (address & (page - 1) & ~std::uint64_t{4095});
        }
        check(next < level, "levels may be skipped, not climbed");
        table = to;
        level = next;
    }
    return 0;
}

}  // namespace

namespace iommu_model {

void reset(bool is_there) {
    present = is_there;
    attached.clear();
    tables.clear();
    cache.clear();
    taken = {0};
}

std::optional<HostPhys> reach(iommu::Requester r, std::uint64_t address, bool writes) {
    const auto found = attached.find(r);
    if (found == attached.end()) return std::nullopt;
    const auto [domain, root] = found->second;
    const auto key = std::pair{domain, address >> 12};
    if (!cache.contains(key)) {
        const std::uint64_t leaf = walk(root, address);
        if (leaf == 0) return std::nullopt;  // nothing that is not there is remembered
        cache[key] = leaf;
    }
    const std::uint64_t leaf = cache[key];
    if ((leaf & (writes ? AmdViFormat::write : AmdViFormat::read)) == 0) return std::nullopt;
    return HostPhys{(leaf & AmdViFormat::address_mask) + (address & 4095)};
}

std::optional<Interrupt> message(iommu::Requester r, unsigned index) {
    const auto table = tables.find(r);
    if (table == tables.end() || index >= iommu::amd_vi::interrupt_entries) return std::nullopt;
    const std::uint32_t entry = table->second[index].load();
    if ((entry & 1) == 0) return std::nullopt;
    return Interrupt{entry >> 16 & 0xff, entry >> 8 & 0xff};
}

unsigned domains() { return static_cast<unsigned>(taken.size()) - 1; }

unsigned looks() { return looked; }

}  // namespace iommu_model

namespace iommu {

void serve_events() { ++looked; }
std::span<const Ivrs::Unit> units() { return {}; }
bool is_present() { return present; }

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

void remap_interrupts(Requester r, HostPhys table) {
    tables[r] = direct<amd_vi::InterruptEntry>(table);
}
void block_interrupts(Requester r) { check(tables.erase(r) == 1, "it had a table"); }
void set_message(Requester r, amd_vi::InterruptEntry* table, unsigned index, unsigned vector,
                 unsigned apic_id) {
    check(tables.at(r) == table, "its own table");
    table[index].store(vector == 0 ? 0 : amd_vi::interrupt_entry(vector, apic_id));
}

}  // namespace iommu

}  // namespace margay
