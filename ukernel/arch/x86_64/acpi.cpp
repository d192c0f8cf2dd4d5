// ACPI 6.4 §5.2: RSDP 5.2.5, RSDT 5.2.7, XSDT 5.2.8, FADT 5.2.9, MADT 5.2.12, SRAT 5.2.16.
#include "ukernel/arch/x86_64/acpi.hpp"

#include <cstring>

#include "support/field.hpp"

namespace margay::acpi {

namespace {

constexpr std::uint32_t header_bytes = 36, max_table_bytes = 1 << 20;

struct Table {
    const std::uint8_t* bytes = nullptr;
    std::uint32_t length = 0;
    bool is(const char* signature) const {
        return bytes != nullptr && std::memcmp(bytes, signature, 4) == 0;
    }
};

// A table whose length can be true. Firmware gets checksums wrong, and nothing but the sum is wrong
// with such a table: it counts.
Table table_at(std::uint64_t address, View view, Platform& platform, const char* const* wanted) {
    if (address == 0) return {};
    const std::uint8_t* header = view(HostPhys{address}, header_bytes);
    if (header == nullptr) return {};
    while (*wanted != nullptr && std::memcmp(header, *wanted, 4) != 0) ++wanted;
    if (*wanted == nullptr) return {};
    const auto length = field<std::uint32_t>(header, 4);
    if (length < header_bytes || length > max_table_bytes) return {};
    const std::uint8_t* bytes = view(HostPhys{address}, length);
    if (bytes == nullptr) return {};
    std::uint8_t sum = 0;
    for (std::uint32_t i = 0; i < length; ++i) sum += bytes[i];
    if (sum != 0) ++platform.bad_checksums;
    return {bytes, length};
}

// The structures behind a table's fixed part: type, length, body. Ends at one that does not fit.
template <typename F>
void for_each_structure(const Table& t, std::uint32_t first, F f) {
    for (std::uint32_t at = first; at + 2 <= t.length;) {
        const std::uint8_t length = t.bytes[at + 1];
        if (length < 2 || length > t.length - at) return;
        f(t.bytes[at], t.bytes + at, length);
        at += length;
    }
}

void add_core(Platform& p, std::uint32_t apic_id, std::uint32_t flags) {
    if ((flags & 1) == 0) return;  // not enabled
    for (unsigned i = 0; i < p.core_count; ++i)
        if (p.cores[i].apic_id == apic_id) return;
    if (p.core_count == max_cores)
        ++p.cores_left_out;
    else
        p.cores[p.core_count++] = {apic_id, 0};
}

void parse_madt(const Table& t, Platform& p) {
    if (t.length < 44) return;
    for_each_structure(t, 44, [&p](unsigned type, const std::uint8_t* e, unsigned length) {
        // Local APIC: ids above 254 cannot be meant. Firmware lists each core as one or as x2APIC,
        // some as both.
        if (type == 0 && length >= 8 && e[3] != 0xff) add_core(p, e[3], field<std::uint32_t>(e, 4));
        if (type == 9 && length >= 16)
            add_core(p, field<std::uint32_t>(e, 4), field<std::uint32_t>(e, 8));
        if (type == 1 && length >= 12) {
            if (p.io_apic_count == Platform::max_io_apics)
                ++p.others_left_out;
            else
                p.io_apics[p.io_apic_count++] = {HostPhys{field<std::uint32_t>(e, 4)},
                                                 field<std::uint32_t>(e, 8), e[2]};
        }
        if (type == 2 && length >= 10) {
            const unsigned flags = field<std::uint16_t>(e, 8);
            if (p.override_count == Platform::max_overrides)
                ++p.others_left_out;
            else
                p.overrides[p.override_count++] = {e[3], (flags & 3) == 3, (flags >> 2 & 3) == 3,
                                                   field<std::uint32_t>(e, 4)};
        }
    });
}

void parse_fadt(const Table& t, Platform& p) {
    if (t.length >= 80)
        p.pm_timer_port = static_cast<std::uint16_t>(field<std::uint32_t>(t.bytes, 76));
}

// Behind the MADT: it names nodes of cores that are there.
void parse_srat(const Table& t, Platform& p) {
    const auto set_node = [&p](std::uint32_t apic_id, std::uint32_t node) {
        for (unsigned i = 0; i < p.core_count; ++i)
            if (p.cores[i].apic_id == apic_id) p.cores[i].node = node;
    };
    for_each_structure(t, 48, [&](unsigned type, const std::uint8_t* e, unsigned length) {
        if (type == 0 && length >= 16 && (field<std::uint32_t>(e, 4) & 1) != 0)
            set_node(e[3], e[2] | e[9] << 8 | e[10] << 16 | std::uint32_t{e[11]} << 24);
        if (type == 2 && length >= 24 && (field<std::uint32_t>(e, 12) & 1) != 0)
            set_node(field<std::uint32_t>(e, 8), field<std::uint32_t>(e, 4));
        if (type == 1 && length >= 40 && (field<std::uint32_t>(e, 28) & 1) != 0) {
            const auto base = field<std::uint64_t>(e, 8), bytes = field<std::uint64_t>(e, 16);
            if (bytes == 0 || base + bytes < base) return;
            if (p.memory_count == Platform::max_affinities)
                ++p.others_left_out;
            else
                p.memory[p.memory_count++] = {HostPhys{align_down(base, page_size)},
                                              HostPhys{align_down(base + bytes, page_size)},
                                              field<std::uint32_t>(e, 2)};
        }
    });
}

// The tables that an RSDT (entries of 4 bytes) or XSDT (8) lists.
bool parse_root(std::uint64_t at, bool extended, View view, Platform& p) {
    const char* const root_names[] = {extended ? "XSDT" : "RSDT", nullptr};
    const char* const names[] = {"APIC", "FACP", "SRAT", "IVRS", "DMAR", nullptr};
    const Table root = table_at(at, view, p, root_names);
    if (root.bytes == nullptr) return false;
    Table madt, fadt, srat;
    const unsigned entry = extended ? 8 : 4;
    for (std::uint32_t i = header_bytes; i + entry <= root.length; i += entry) {
        const Table t = table_at(extended ? field<std::uint64_t>(root.bytes, i)
                                          : field<std::uint32_t>(root.bytes, i),
                                 view, p, names);
        // The first of a kind counts.
        if (t.is("APIC") && madt.bytes == nullptr) madt = t;
        if (t.is("FACP") && fadt.bytes == nullptr) fadt = t;
        if (t.is("SRAT") && srat.bytes == nullptr) srat = t;
        if (t.is("IVRS") && p.ivrs == nullptr) p.ivrs = t.bytes, p.ivrs_bytes = t.length;
        if (t.is("DMAR") && p.dmar == nullptr) p.dmar = t.bytes, p.dmar_bytes = t.length;
    }
    if (fadt.bytes != nullptr) parse_fadt(fadt, p);
    if (madt.bytes == nullptr) return false;
    parse_madt(madt, p);
    if (srat.bytes != nullptr) parse_srat(srat, p);
    return p.core_count != 0;
}

}  // namespace

bool parse(const std::uint8_t* rsdp, View view, Platform& platform) {
    if (std::memcmp(rsdp, "RSD PTR ", 8) != 0) return false;
    constexpr unsigned revision = 15, rsdt = 16, xsdt = 24;
    // An XSDT that is of no use does not make the RSDT useless.
    if (rsdp[revision] >= 2 && parse_root(field<std::uint64_t>(rsdp, xsdt), true, view, platform))
        return true;
    return parse_root(field<std::uint32_t>(rsdp, rsdt), false, view, platform);
}

std::uint32_t Platform::node_of(HostPhys address, HostPhys& end) const {
    for (unsigned i = 0; i < memory_count; ++i) {
        const MemoryAffinity& a = memory[i];
        // Where another one begins, or this one ends.
        if (a.begin > address && a.begin < end) end = a.begin;
        if (a.begin > address || a.end <= address) continue;
        if (a.end < end) end = a.end;
        return a.node;
    }
    return 0;
}

}  // namespace margay::acpi
