#include "ukernel/arch/x86_64/acpi.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bytes.hpp"
#include "machine.hpp"
#include "ukernel/arch/x86_64/pic.hpp"

namespace margay::acpi {
namespace {

// Physical memory in pieces: what is not in one piece as a whole cannot be seen.
std::map<std::uint64_t, Bytes> memory;
const std::uint8_t* view(HostPhys at, std::uint64_t bytes) {
    auto piece = memory.upper_bound(at.value());
    if (piece == memory.begin()) return nullptr;
    --piece;
    const std::uint64_t offset = at.value() - piece->first;
    if (offset > piece->second.size() || bytes > piece->second.size() - offset) return nullptr;
    return piece->second.data() + offset;
}

Bytes table(const char* signature, const Bytes& body) {
    Bytes t(signature, signature + 4);
    put(t, static_cast<std::uint32_t>(36 + body.size()));
    t.resize(36);
    t.insert(t.end(), body.begin(), body.end());
    std::uint8_t sum = 0;
    for (const std::uint8_t x : t) sum += x;
    t[9] = static_cast<std::uint8_t>(-sum);
    return t;
}

Bytes local_apic(unsigned id, unsigned flags = 1) {
    return {0, 8, 9, static_cast<std::uint8_t>(id), static_cast<std::uint8_t>(flags), 0, 0, 0};
}
Bytes x2apic(std::uint32_t id, std::uint32_t flags = 1) {
    Bytes b{9, 16, 0, 0};
    put(put(put(b, id), flags), 0u);
    return b;
}
Bytes madt(const Bytes& entries) { return table("APIC", Bytes(8) + entries); }

constexpr std::uint64_t root_at = 0x7fff0000;

// A root table in front of the others, which follow each at an address of its own.
Bytes install(bool extended, const std::vector<Bytes>& tables, std::uint64_t root = root_at) {
    memory.clear();
    Bytes addresses;
    std::uint64_t at = root + 0x10000;
    for (const Bytes& t : tables) {
        if (extended)
            put(addresses, at);
        else
            put(addresses, static_cast<std::uint32_t>(at));
        if (!t.empty()) memory[at] = t;
        at += 0x1010;
    }
    memory[root] = table(extended ? "XSDT" : "RSDT", addresses);
    Bytes rsdp(36);
    std::memcpy(rsdp.data(), "RSD PTR ", 8);
    rsdp[15] = extended ? 2 : 0;
    const auto low = static_cast<std::uint32_t>(root);
    std::memcpy(rsdp.data() + (extended ? 24 : 16), &root, extended ? 8 : 4);
    if (!extended) std::memcpy(rsdp.data() + 16, &low, 4);
    return rsdp;
}

struct Parsed : Platform {
    bool usable;
    explicit Parsed(const Bytes& rsdp) { usable = parse(rsdp.data(), view, *this); }
    std::vector<std::uint32_t> ids() const {
        std::vector<std::uint32_t> all;
        for (unsigned i = 0; i < core_count; ++i) all.push_back(cores[i].apic_id);
        return all;
    }
};
using Ids = std::vector<std::uint32_t>;

TEST(Acpi, CoresInOrderWithoutThoseThatAreOff) {
    const Bytes entries =
        local_apic(4) + local_apic(0) + local_apic(2, 0) + local_apic(6, 2) + local_apic(7);
    for (const bool extended : {false, true}) {
        const Parsed p{install(extended, {table("SSDT", {}), madt(entries)})};
        EXPECT_TRUE(p.usable);
        EXPECT_EQ(p.ids(), (Ids{4, 0, 7})) << "the boot core need not be the first";
    }
}

TEST(Acpi, DuplicateIdsCountOnce) {
    // Both kinds of entry for a core, an entry that is there twice, and the id that is none.
    const Parsed p{
        install(true, {madt(local_apic(0) + local_apic(1) + local_apic(0) + x2apic(1) +
                            local_apic(255) + x2apic(255) + x2apic(300) + x2apic(300))})};
    EXPECT_EQ(p.ids(), (Ids{0, 1, 255, 300}));
}

TEST(Acpi, AsManyCoresAsTheBuildServes) {
    Bytes entries;
    for (std::uint32_t i = 0; i < max_cores + 3; ++i) entries = entries + x2apic(i * 2);
    const Parsed p{install(true, {madt(entries)})};
    EXPECT_EQ(p.core_count, max_cores);
    EXPECT_EQ(p.cores_left_out, 3u);
}

TEST(Acpi, TheTablesOfIommusAreFound) {
    const Bytes ivrs = table("IVRS", Bytes(40)), dmar = table("DMAR", Bytes(44));
    const Parsed p{install(true, {madt(local_apic(0)), ivrs, dmar, table("DMAR", Bytes(12))})};
    ASSERT_NE(p.ivrs, nullptr);
    EXPECT_EQ(p.ivrs_bytes, ivrs.size());
    EXPECT_EQ(std::memcmp(p.ivrs, ivrs.data(), ivrs.size()), 0);
    ASSERT_NE(p.dmar, nullptr);
    EXPECT_EQ(p.dmar_bytes, dmar.size()) << "the first counts";
    EXPECT_EQ(std::memcmp(p.dmar, dmar.data(), dmar.size()), 0);
    const Parsed none{install(true, {madt(local_apic(0))})};
    EXPECT_EQ(none.ivrs, nullptr);
    EXPECT_EQ(none.dmar, nullptr);
}

TEST(Acpi, InterruptLines) {
    Bytes entries = local_apic(0);
    for (unsigned i = 0; i < Platform::max_io_apics + 2; ++i) {
        Bytes e{1, 12, static_cast<std::uint8_t>(i), 0};
        put(put(e, 0xfec00000u + i * 0x1000), i * 24u);
        entries = entries + e;
    }
    Bytes timer{2, 10, 0, 0}, sci{2, 10, 0, 9};
    put(put(timer, 2u), std::uint16_t{0});
    put(put(sci, 9u), std::uint16_t{0xf});
    const Parsed p{install(true, {madt(entries + timer + sci)})};
    ASSERT_EQ(p.io_apic_count, Platform::max_io_apics);
    EXPECT_EQ(p.others_left_out, 2u);
    EXPECT_EQ(p.io_apics[3].base.value(), 0xfec03000u);
    EXPECT_EQ(p.io_apics[3].first_gsi, 72u);
    EXPECT_EQ(p.io_apics[3].id, 3u);
    ASSERT_EQ(p.override_count, 2u);
    EXPECT_EQ(p.overrides[0].gsi, 2u);
    EXPECT_FALSE(p.overrides[0].level);
    EXPECT_TRUE(p.overrides[1].level && p.overrides[1].active_low);
}

TEST(Acpi, RootAboveFourGigabytes) {
    const Parsed p{install(true, {madt(local_apic(0))}, 0x8'1234'5000)};
    EXPECT_TRUE(p.usable);
}

TEST(Acpi, ABrokenXsdtLeavesTheRsdt) {
    Bytes rsdp = install(false, {madt(local_apic(3))});
    rsdp[15] = 2;
    for (const std::uint64_t xsdt : {0ul, 0x1234ul, ~0ul, root_at + 0x10000}) {
        std::memcpy(rsdp.data() + 24, &xsdt, 8);
        EXPECT_EQ(Parsed{rsdp}.ids(), Ids{3}) << xsdt;
    }
}

TEST(Acpi, WrongChecksumsAreCountedAndTablesUsed) {
    const Bytes rsdp = install(true, {madt(local_apic(0))});
    memory[root_at][9] ^= 1;
    memory[root_at + 0x10000][9] ^= 1;
    const Parsed p{rsdp};
    EXPECT_TRUE(p.usable);
    EXPECT_EQ(p.bad_checksums, 2u);
}

TEST(Acpi, LengthsThatLie) {
    for (const std::uint32_t length : {0u, 35u, 45u, 1000u, 1u << 20, ~0u}) {
        const Bytes rsdp = install(true, {madt(local_apic(0) + local_apic(1))});
        std::memcpy(memory[root_at + 0x10000].data() + 4, &length, 4);
        EXPECT_FALSE(Parsed{rsdp}.usable) << length;
    }
    // An entry that has no length, or one beyond the table's, ends the list.
    Bytes endless{0, 0, 1, 1, 1, 1, 1, 1}, beyond{0, 200, 1, 1, 1, 1, 1, 1}, short_one{0, 4, 1, 1};
    EXPECT_EQ(Parsed(install(true, {madt(local_apic(5) + endless + local_apic(6))})).ids(), Ids{5});
    EXPECT_EQ(Parsed(install(true, {madt(local_apic(5) + beyond)})).ids(), Ids{5});
    EXPECT_EQ(Parsed(install(true, {madt(local_apic(5) + short_one + local_apic(6))})).ids(),
              (Ids{5, 6}));
}

TEST(Acpi, WithoutRootPointerTablesOrCores) {
    EXPECT_FALSE(Parsed(Bytes(36)).usable);
    EXPECT_FALSE(Parsed(install(true, {})).usable);
    EXPECT_FALSE(Parsed(install(true, {Bytes{}, table("FACP", Bytes(80))})).usable);
    EXPECT_FALSE(Parsed(install(true, {madt(local_apic(0, 0))})).usable);
}

TEST(Acpi, EveryTruncation) {
    const Bytes whole = madt(local_apic(0) + x2apic(1));
    for (std::size_t size = 0; size < whole.size(); ++size) {
        const Bytes rsdp =
            install(true, {Bytes(whole.begin(), whole.begin() + static_cast<long>(size))});
        EXPECT_FALSE(Parsed{rsdp}.usable) << size;
    }
}

TEST(Acpi, PmTimer) {
    Bytes fadt(44);
    fadt[40] = 0x08, fadt[41] = 0xb0;
    EXPECT_EQ(Parsed(install(true, {table("FACP", fadt), madt(local_apic(0))})).pm_timer_port,
              0xb008);
    EXPECT_EQ(Parsed(install(true, {table("FACP", Bytes(43)), madt(local_apic(0))})).pm_timer_port,
              0);
}

Bytes core_affinity(unsigned id, std::uint32_t node) {
    return {0,
            16,
            static_cast<std::uint8_t>(node),
            static_cast<std::uint8_t>(id),
            1,
            0,
            0,
            0,
            0,
            static_cast<std::uint8_t>(node >> 8),
            0,
            0,
            0,
            0,
            0,
            0};
}
Bytes x2_affinity(std::uint32_t id, std::uint32_t node) {
    Bytes b{2, 24, 0, 0};
    put(put(put(put(put(b, node), id), 1u), 0u), 0u);
    return b;
}
Bytes memory_affinity(std::uint64_t base, std::uint64_t bytes, std::uint32_t node,
                      std::uint32_t flags = 1) {
    Bytes b{1, 40};
    put(put(put(b, node), std::uint16_t{0}), base);
    put(put(put(put(b, bytes), 0u), flags), std::uint64_t{0});
    return b;
}

TEST(Acpi, NumaNodes) {
    constexpr std::uint64_t GiB = 1 << 30;
    const Bytes srat = table(
        "SRAT", Bytes(12) + core_affinity(1, 1) + x2_affinity(300, 0x102) + core_affinity(9, 7) +
                    memory_affinity(0, 4 * GiB, 0) + memory_affinity(4 * GiB, 4 * GiB, 1) +
                    memory_affinity(8 * GiB, GiB, 3, 0) + memory_affinity(16 * GiB, GiB, 0x102));
    // Wherever the SRAT stands.
    for (const bool first : {false, true}) {
        const Bytes m = madt(local_apic(0) + local_apic(1) + x2apic(300));
        const Parsed p{
            install(true, first ? std::vector<Bytes>{srat, m} : std::vector<Bytes>{m, srat})};
        ASSERT_EQ(p.core_count, 3u);
        EXPECT_EQ(p.cores[0].node, 0u);
        EXPECT_EQ(p.cores[1].node, 1u);
        EXPECT_EQ(p.cores[2].node, 0x102u);
        const auto node = [&p](std::uint64_t at, std::uint64_t until) {
            HostPhys end{until};
            const std::uint32_t n = p.node_of(HostPhys{at}, end);
            return std::pair<std::uint32_t, std::uint64_t>{n, end.value()};
        };
        EXPECT_EQ(node(GiB, 20 * GiB), std::pair(0u, 4 * GiB));
        EXPECT_EQ(node(GiB, 2 * GiB), std::pair(0u, 2 * GiB));
        EXPECT_EQ(node(5 * GiB, 20 * GiB), std::pair(1u, 8 * GiB));
        EXPECT_EQ(node(8 * GiB, 20 * GiB), std::pair(0u, 16 * GiB))
            << "a disabled entry says nothing";
        EXPECT_EQ(node(16 * GiB, 20 * GiB), std::pair(0x102u, 17 * GiB));
    }
}

// Both controllers go through their four words and end masked, on vectors that are no exception's.
TEST(Pic, IsRemappedAndMasked) {
    machine::reset();
    pic::disable();
    const std::vector<std::pair<std::uint16_t, std::uint32_t>> wanted{
        {0x20, 0x11}, {0xa0, 0x11}, {0x21, 32}, {0xa1, 40},   {0x21, 4},
        {0xa1, 2},    {0x21, 1},    {0xa1, 1},  {0x21, 0xff}, {0xa1, 0xff}};
    EXPECT_EQ(machine::now.port_writes, wanted);
}

}  // namespace
}  // namespace margay::acpi
