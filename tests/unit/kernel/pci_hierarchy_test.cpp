#include "ukernel/arch/x86_64/iommu/vtd/hierarchy.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "dmar_bytes.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/coverage.hpp"

namespace margay::iommu {
namespace {

constexpr unsigned root_port = 4, upstream = 5, downstream = 6, to_pci = 7, from_pci = 8;

constexpr Requester at(unsigned bus, unsigned device, unsigned function = 0) {
    return static_cast<Requester>(bus << 8 | device << 3 | function);
}

// Functions with their first 256 bytes; what is not there reads as all ones.
struct Machine {
    std::map<Requester, std::map<unsigned, std::uint32_t>> functions;
    unsigned reads = 0;

    std::uint32_t read(Requester r, unsigned offset) {
        ++reads;
        EXPECT_TRUE(offset % 4 == 0 && offset < 256);
        const auto f = functions.find(r);
        if (f == functions.end()) return ~0u;
        const auto value = f->second.find(offset);
        return value == f->second.end() ? 0 : value->second;
    }
    void device(Requester r, bool has_more = false) {
        functions[r] = {{0, 0x00101b36}, {0xc, has_more ? 0x80'0000u : 0}};
    }
    void plain_bridge(Requester r, unsigned secondary, unsigned subordinate, unsigned header = 1) {
        functions[r] = {{0, 0x000c1b36},
                        {0xc, header << 16},
                        {0x18, r >> 8 | secondary << 8 | subordinate << 16 | 0x40u << 24}};
    }
    // With power management in front of the capability that says what it is.
    void port(Requester r, unsigned secondary, unsigned subordinate, unsigned type = root_port) {
        plain_bridge(r, secondary, subordinate);
        auto& f = functions[r];
        f[4] = 1u << 20;
        f[0x34] = 0x40;
        f[0x40] = 0x01 | 0x50 << 8;
        f[0x50] = 0x10 | (2u | type << 4) << 16;
    }
};

struct PciHierarchy : testing::Test {
    void scan(std::initializer_list<unsigned> more = {}) {
        BusSet starts;
        for (const unsigned bus : more) starts.add(static_cast<std::uint8_t>(bus));
        machine.reads = 0;
        Scan{machine, found}.run(starts);
    }
    bool hidden(unsigned bus) const { return found.is_hidden(at(bus, 0)); }
    bool exists(unsigned bus) const { return found.exists(static_cast<std::uint8_t>(bus)); }

    Machine machine;
    Hierarchy found;
};

TEST_F(PciHierarchy, AnEmptyMachine) {
    scan();
    EXPECT_TRUE(exists(0));
    EXPECT_FALSE(hidden(0));
    EXPECT_FALSE(exists(1));
    EXPECT_TRUE(hidden(1)) << "nobody knows";
    EXPECT_EQ(machine.reads, 32u) << "one read for a device that is not there";
}

TEST_F(PciHierarchy, PortsAndASwitch) {
    machine.device(at(0, 0));
    machine.port(at(0, 3), 1, 4);
    machine.port(at(0, 4), 5, 5);
    machine.port(at(1, 0), 2, 4, upstream);
    machine.port(at(2, 0), 3, 3, downstream);
    machine.port(at(2, 1), 4, 4, downstream);
    machine.device(at(4, 0));
    scan();
    for (unsigned bus = 0; bus <= 5; ++bus) {
        EXPECT_TRUE(exists(bus)) << bus;
        EXPECT_FALSE(hidden(bus)) << bus;
    }
    EXPECT_FALSE(exists(6));
    EXPECT_FALSE(found.is_behind_bridge(0));
    EXPECT_TRUE(found.is_behind_bridge(4));
    EXPECT_EQ(found.bridge_above(4), at(2, 1));
    EXPECT_EQ(found.bridge_above(2), at(1, 0));
    Hierarchy::Buses behind{};
    ASSERT_TRUE(found.buses_behind(at(0, 3), behind));
    EXPECT_EQ(behind.first, 1u);
    EXPECT_EQ(behind.last, 4u);
    EXPECT_FALSE(found.buses_behind(at(0, 0), behind));
    EXPECT_FALSE(found.buses_behind(0, behind)) << "not what buses without a bridge have";
    Requester r = 0;
    const std::uint8_t path[] = {3 << 3, 0, 1 << 3, 7};
    ASSERT_TRUE(found.resolve(0, path, 4, r));
    EXPECT_EQ(r, at(4, 0, 7));
    ASSERT_TRUE(found.resolve(0xff, path, 1, r));
    EXPECT_EQ(r, at(0xff, 3)) << "one hop needs no bridge";
    const std::uint8_t wrong[] = {0, 0};
    EXPECT_FALSE(found.resolve(0, wrong, 2, r));
    EXPECT_FALSE(found.resolve(0, path, 0, r));
}

TEST_F(PciHierarchy, FunctionsOfADevice) {
    machine.device(at(0, 2), true);
    machine.port(at(0, 2, 5), 1, 1);
    machine.device(at(0, 3));
    machine.port(at(0, 3, 1), 2, 2);
    machine.port(at(0, 4, 1), 3, 3);
    scan();
    EXPECT_TRUE(exists(1)) << "function 0 says that there are more, with one missing between";
    EXPECT_FALSE(exists(2)) << "function 0 says that there are none";
    EXPECT_FALSE(exists(3)) << "no function 0";
}

// Devices that answer to every number are there once.
TEST_F(PciHierarchy, BelowAPortThereIsOneDevice) {
    machine.port(at(0, 3), 1, 4);
    for (unsigned device = 0; device < 32; ++device) machine.port(at(1, device), 2, 4, upstream);
    scan();
    EXPECT_TRUE(exists(2));
    EXPECT_FALSE(hidden(2));
}

TEST_F(PciHierarchy, ConventionalBridgesHideAllThatIsBelow) {
    machine.plain_bridge(at(0, 1), 1, 3);
    machine.port(at(1, 0), 2, 2);
    machine.plain_bridge(at(1, 1), 3, 3);
    machine.port(at(0, 2), 4, 6);
    machine.port(at(4, 0), 5, 6, to_pci);
    machine.port(at(5, 1), 6, 6, from_pci);
    machine.plain_bridge(at(0, 5), 7, 7, 2);
    machine.port(at(0, 6), 8, 8, from_pci);
    machine.port(at(0, 7), 9, 9, 0);
    machine.port(at(0, 8), 10, 10);
    machine.functions[at(0, 8)][4] = 0;  // says that it has no list
    scan();
    for (const unsigned bus : {1, 2, 3, 5, 6, 7, 8, 9, 10}) {
        EXPECT_TRUE(exists(bus)) << bus;
        EXPECT_TRUE(hidden(bus)) << bus;
    }
    EXPECT_FALSE(hidden(0));
    EXPECT_FALSE(hidden(4)) << "the bridge itself is not hidden";
}

TEST_F(PciHierarchy, AListInACircleEnds) {
    machine.port(at(0, 3), 1, 1);
    machine.functions[at(0, 3)][0x50] = 0x01 | 0x40 << 8;
    machine.port(at(0, 4), 2, 2);
    machine.functions[at(0, 4)][0x34] = 0x04;
    scan();
    EXPECT_TRUE(hidden(1));
    EXPECT_TRUE(hidden(2)) << "a list within the header";
    EXPECT_LT(machine.reads, 200u);
}

TEST_F(PciHierarchy, BridgesThatAreNotUsed) {
    machine.port(at(0, 3), 0, 0);
    machine.port(at(0, 4), 1, 1);
    scan();
    EXPECT_FALSE(hidden(0));
    EXPECT_FALSE(hidden(1));
    EXPECT_FALSE(exists(2));
}

TEST_F(PciHierarchy, BusNumbersThatCannotBe) {
    machine.port(at(0, 1), 4, 9);
    machine.port(at(0, 2), 12, 11);  // ends before it begins
    machine.port(at(4, 0, 0), 5, 7, upstream);
    machine.port(at(5, 1), 5, 5, downstream);  // its own bus
    machine.port(at(5, 2), 6, 6, downstream);
    machine.port(at(5, 3), 8, 8, downstream);  // beyond what its bus's bridge has
    machine.port(at(5, 4), 7, 9, downstream);  // partly so
    scan();
    EXPECT_FALSE(hidden(4));
    EXPECT_TRUE(hidden(5));
    EXPECT_TRUE(hidden(6)) << "below one that is";
    for (const unsigned bus : {7, 8, 9, 11, 12}) {
        EXPECT_FALSE(exists(bus)) << bus;
        EXPECT_TRUE(hidden(bus)) << bus;
    }
    Hierarchy::Buses behind{};
    EXPECT_FALSE(found.buses_behind(at(5, 4), behind));
}

TEST_F(PciHierarchy, ABusThatTwoBridgesHave) {
    machine.port(at(0, 1), 1, 3);
    machine.port(at(0, 2), 3, 5);  // overlaps
    machine.port(at(0, 3), 6, 7);
    machine.port(at(0, 4), 6, 6);  // the same again
    machine.port(at(0, 5), 8, 8);
    machine.port(at(1, 0), 2, 3, upstream);
    machine.port(at(2, 0), 3, 3, downstream);
    machine.port(at(6, 0), 7, 7, upstream);
    scan();
    EXPECT_FALSE(hidden(1));
    EXPECT_FALSE(hidden(2));
    for (const unsigned bus : {3, 4, 5, 6, 7}) EXPECT_TRUE(hidden(bus)) << bus;
    EXPECT_FALSE(hidden(8));
}

TEST_F(PciHierarchy, BridgesInACircle) {
    machine.port(at(0, 1), 1, 2);
    machine.port(at(1, 0), 2, 2, upstream);
    machine.port(at(2, 0), 1, 2, downstream);
    scan();
    EXPECT_TRUE(exists(2));
    EXPECT_FALSE(hidden(0));
    EXPECT_TRUE(hidden(1));
    EXPECT_TRUE(hidden(2));
}

TEST_F(PciHierarchy, SeveralHostBridges) {
    machine.port(at(0, 1), 1, 2);
    machine.port(at(0x17, 0), 0x18, 0x1f);
    machine.device(at(0x18, 0));
    machine.port(at(0x80, 0), 0x81, 0x81);
    scan({0x17, 0x80, 2, 0x1c, 0x18});
    EXPECT_TRUE(exists(0x17));
    EXPECT_FALSE(hidden(0x17));
    EXPECT_FALSE(found.is_behind_bridge(0x17));
    EXPECT_FALSE(hidden(0x18));
    EXPECT_TRUE(found.is_behind_bridge(0x18)) << "a first bus that is none";
    EXPECT_FALSE(hidden(0x81));
    EXPECT_FALSE(exists(2)) << "in the middle of what a bridge has";
    EXPECT_FALSE(exists(0x1c));
    scan();
    EXPECT_FALSE(exists(0x17)) << "forgotten";
    EXPECT_FALSE(exists(0x18));
}

TEST_F(PciHierarchy, TheLastBus) {
    machine.port(at(0, 1), 1, 255);
    machine.port(at(1, 0), 255, 255, upstream);
    machine.device(at(255, 31));
    machine.port(at(255, 0), 255, 255, downstream);
    scan({255});
    EXPECT_TRUE(exists(255));
    EXPECT_TRUE(hidden(255)) << "its own bridge lies";
    EXPECT_FALSE(hidden(1));
}

TEST_F(PciHierarchy, RandomBridges) {
    std::mt19937_64 random{5};
    for (unsigned n = 0; n < 200; ++n) {
        machine.functions.clear();
        for (unsigned i = 0; i < 60; ++i) {
            const Requester r = at(static_cast<unsigned>(random()) % 24, random() % 2);
            machine.port(r, random() % 24, random() % 24, random() % 10);
        }
        scan({0, 3, 17});
        EXPECT_LE(machine.reads, 65536u * 4);
        for (unsigned bus = 0; bus < 256; ++bus) {
            EXPECT_TRUE(exists(bus) || hidden(bus));
            const auto b = static_cast<std::uint8_t>(bus);
            if (!found.is_behind_bridge(b)) continue;
            const unsigned above = found.bridge_above(b) >> 8;
            EXPECT_TRUE(exists(bus) && exists(above) && above < bus);
            EXPECT_TRUE(hidden(bus) || !hidden(above));
        }
    }
}

struct VtdCoverage : PciHierarchy {
    void build(const Bytes& bytes) {
        ASSERT_TRUE(parse_dmar(bytes.data(), static_cast<std::uint32_t>(bytes.size()), dmar));
        Scan{machine, found}.run(start_buses(dmar));
        coverage.build(dmar, found);
    }
    Dmar dmar;
    Coverage coverage;
};

using namespace dmar_bytes;
constexpr std::uint64_t first = 0xfed90000, second = 0xfed91000, third = 0xfed92000;

TEST_F(VtdCoverage, AsTheEmulatorHasIt) {
    machine.device(at(0, 0));
    machine.device(at(0, 2));
    machine.port(at(0, 3), 1, 1);
    machine.port(at(0, 4), 2, 3);
    machine.port(at(2, 0), 3, 3, to_pci);
    machine.device(at(1, 0));
    machine.device(at(3, 1));
    build(qemu());
    EXPECT_FALSE(exists(0xff)) << "an I/O APIC's bus is none";
    EXPECT_EQ(coverage.left_out(), 0u);
    for (const Requester r :
         {at(0, 0), at(0, 2), at(0, 3), at(0, 31, 2), at(1, 0), at(1, 9, 3), at(2, 0), at(3, 1)})
        EXPECT_EQ(coverage.unit_of(r), 0u) << r;
    EXPECT_EQ(coverage.unit_of(at(0, 5)), Dmar::no_unit) << "nobody names it";
    EXPECT_EQ(coverage.unit_of(at(4, 0)), Dmar::no_unit);
    EXPECT_FALSE(coverage.is_hidden(at(1, 0)));
    EXPECT_TRUE(coverage.is_hidden(at(3, 1)));
    EXPECT_EQ(coverage.reserved_of(at(0, 2)), nullptr);
    const Coverage::Special* s = coverage.io_apic(0);
    ASSERT_NE(s, nullptr);
    EXPECT_EQ(s->source, 0xff00u);
    EXPECT_EQ(s->unit, 0u);
    EXPECT_EQ(coverage.io_apic(1), nullptr);
    EXPECT_TRUE(coverage.is_special(0xff00));
    EXPECT_FALSE(coverage.is_special(0));
}

TEST_F(VtdCoverage, AsServersHaveIt) {
    machine.port(at(0, 1), 1, 2);
    machine.port(at(1, 0), 2, 2, upstream);
    machine.port(at(0x17, 0), 0x18, 0x1b);
    machine.port(at(0x18, 0), 0x19, 0x1b, upstream);
    machine.port(at(0x19, 0), 0x1a, 0x1a, downstream);
    machine.port(at(0x19, 1), 0x1b, 0x1b, downstream);
    build(table(
        unit(first, scope(bridge, 0x17, {{0, 0}}) + scope(io_apic, 0x17, {{5, 4}}, 9)) +
        unit(second, scope(bridge, 0x17, {{0, 0}, {0, 0}, {1, 0}}) +
                         scope(endpoint, 0x17, {{0, 0}, {0, 0}, {0, 0}, {0, 1}})) +
        unit(third, scope(io_apic, 0xf0, {{31, 0}}, 8) + scope(hpet, 0xf0, {{30, 0}}), true)));
    EXPECT_EQ(coverage.left_out(), 0u);
    EXPECT_EQ(coverage.unit_of(at(0x17, 0)), 0u) << "the bridge itself";
    EXPECT_EQ(coverage.unit_of(at(0x18, 0)), 0u);
    EXPECT_EQ(coverage.unit_of(at(0x19, 0)), 0u);
    EXPECT_EQ(coverage.unit_of(at(0x19, 1)), 1u) << "the nearer bridge";
    EXPECT_EQ(coverage.unit_of(at(0x1b, 0)), 1u);
    EXPECT_EQ(coverage.unit_of(at(0x1a, 0)), 0u);
    EXPECT_EQ(coverage.unit_of(at(0x1a, 0, 1)), 1u) << "named itself";
    EXPECT_EQ(coverage.unit_of(at(0x17, 5)), 2u) << "all others";
    EXPECT_EQ(coverage.unit_of(at(2, 0)), 2u);
    ASSERT_NE(coverage.io_apic(9), nullptr);
    EXPECT_EQ(coverage.io_apic(9)->source, at(0x17, 5, 4));
    EXPECT_EQ(coverage.io_apic(9)->unit, 0u);
    EXPECT_EQ(coverage.io_apic(8)->unit, 2u);
    EXPECT_EQ(coverage.io_apic(0), nullptr) << "an HPET is none";
    EXPECT_TRUE(coverage.is_special(at(0xf0, 30)));
}

TEST_F(VtdCoverage, TheOrderOfScopesDoesNotCount) {
    machine.port(at(0, 1), 1, 3);
    machine.port(at(1, 0), 2, 3, upstream);
    const Bytes outer = unit(first, scope(bridge, 0, {{1, 0}})),
                inner = unit(second, scope(bridge, 0, {{1, 0}, {0, 0}}));
    for (const Bytes& b : {outer + inner, inner + outer}) {
        build(table(b));
        EXPECT_EQ(dmar.units[coverage.unit_of(at(3, 0))].registers.value(), second);
        EXPECT_EQ(dmar.units[coverage.unit_of(at(1, 0))].registers.value(), second);
        EXPECT_EQ(dmar.units[coverage.unit_of(at(1, 1))].registers.value(), first);
    }
}

TEST_F(VtdCoverage, AUnitThatIsLeftOutCoversNobody) {
    machine.port(at(0, 1), 1, 3);
    machine.port(at(1, 0), 2, 3, upstream);
    build(table(unit(first, scope(bridge, 0, {{1, 0}}), true) +
                unit(8, scope(bridge, 0, {{1, 0}, {0, 0}}) + scope(io_apic, 0, {{9, 0}}, 3))));
    EXPECT_EQ(coverage.unit_of(at(1, 1)), 0u);
    EXPECT_EQ(coverage.unit_of(at(1, 0)), Dmar::no_unit);
    EXPECT_EQ(coverage.unit_of(at(3, 0)), Dmar::no_unit);
    EXPECT_EQ(coverage.unit_of(at(0, 5)), Dmar::no_unit) << "might be its";
    ASSERT_NE(coverage.io_apic(3), nullptr);
    EXPECT_EQ(coverage.io_apic(3)->unit, Dmar::no_unit);
}

// What firmware has turned off is known by name: it is nobody's, the one that covers all others has the rest.
TEST_F(VtdCoverage, AUnitThatIsOffCoversNobody) {
    machine.port(at(0, 1), 1, 2);
    machine.device(at(0, 2));
    build(table(unit(first, scope(endpoint, 0, {{2, 0}}) + scope(bridge, 0, {{1, 0}}) +
                                scope(io_apic, 0, {{9, 0}}, 3)) +
                unit(first + 0x1000, {}, true)));
    EXPECT_EQ(coverage.unit_of(at(0, 2)), 0u);
    dmar.leave_out(0);
    coverage.build(dmar, found);
    for (const Requester r : {at(0, 2), at(0, 1), at(1, 0), at(2, 7)})
        EXPECT_EQ(coverage.unit_of(r), Dmar::no_unit) << r;
    EXPECT_EQ(coverage.unit_of(at(0, 5)), 1u);
    EXPECT_EQ(coverage.io_apic(3)->unit, Dmar::no_unit) << "nobody looks its messages up";
    dmar.leave_out(1);
    coverage.build(dmar, found);
    EXPECT_EQ(coverage.unit_of(at(0, 5)), Dmar::no_unit);
}

TEST_F(VtdCoverage, MemoryThatFirmwareUses) {
    machine.port(at(0, 28), 1, 2);
    machine.port(at(1, 0), 2, 2, to_pci);
    build(table(unit(first, {}, true) + reserved(0x7000, 0x7fff, scope(endpoint, 0, {{20, 0}})) +
                reserved(0x9000, 0xafff, scope(bridge, 0, {{28, 0}})) +
                reserved(0xc000, 0xcfff, scope(endpoint, 0, {{28, 0}, {0, 0}, {4, 0}}))));
    ASSERT_NE(coverage.reserved_of(at(0, 20)), nullptr);
    EXPECT_EQ(coverage.reserved_of(at(0, 20))->begin.value(), 0x7000u);
    EXPECT_EQ(coverage.reserved_of(at(0, 20, 1)), nullptr);
    for (const Requester r : {at(0, 28), at(1, 0), at(1, 3), at(2, 9)}) {
        ASSERT_NE(coverage.reserved_of(r), nullptr) << r;
        EXPECT_EQ(coverage.reserved_of(r)->end.value(), 0xb000u);
    }
    EXPECT_EQ(coverage.reserved_of(at(2, 4))->begin.value(), 0xc000u);
    EXPECT_EQ(coverage.reserved_of(at(3, 0)), nullptr);
    EXPECT_EQ(coverage.unit_of(at(0, 20)), 0u) << "no matter";
    FirmwareMemory all[4];
    ASSERT_EQ(coverage.firmware_memory(all), 2u) << "one is hidden, by the bridge to PCI";
    EXPECT_EQ(all[0].function, at(0, 20));
    EXPECT_EQ(all[0].begin.value(), 0x7000u);
    EXPECT_TRUE(all[0].reads && all[0].writes);
    EXPECT_EQ(all[1].function, at(0, 28));
    all[0] = {};
    EXPECT_EQ(coverage.firmware_memory({}), 2u) << "without room as well";
    EXPECT_EQ(coverage.firmware_memory({all, 1}), 2u);
    EXPECT_EQ(all[0].function, at(0, 20));
    dmar.leave_out(0);
    coverage.build(dmar, found);
    EXPECT_EQ(coverage.firmware_memory(all), 0u) << "nobody lets anything through there";
}

TEST_F(VtdCoverage, PathsThatLeadNowhere) {
    machine.device(at(0, 1));
    Bytes specials;
    for (unsigned i = 0; i < Coverage::max_specials + 1; ++i)
        specials = specials + scope(io_apic, 0, {{1, 1}}, static_cast<std::uint8_t>(i));
    build(table(unit(first, scope(endpoint, 0, {{1, 0}, {0, 0}}) + scope(bridge, 0, {{1, 0}}) +
                                scope(io_apic, 0, {{1, 0}, {3, 0}}, 99)) +
                unit(second, specials)));
    EXPECT_EQ(coverage.left_out(), 3u);
    EXPECT_EQ(coverage.unit_of(at(0, 1)), 0u) << "named as a bridge, which it is not";
    EXPECT_EQ(coverage.unit_of(at(1, 0)), Dmar::no_unit);
    EXPECT_EQ(coverage.io_apic(99), nullptr);
    EXPECT_NE(coverage.io_apic(Coverage::max_specials - 1), nullptr);
    EXPECT_EQ(coverage.io_apic(Coverage::max_specials), nullptr);
    // Nothing of the table before.
    build(table(unit(first, {})));
    EXPECT_EQ(coverage.left_out(), 0u);
    EXPECT_EQ(coverage.unit_of(at(0, 1)), Dmar::no_unit);
    EXPECT_EQ(coverage.io_apic(0), nullptr);
}

}  // namespace
}  // namespace margay::iommu
