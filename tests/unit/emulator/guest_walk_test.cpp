#include "tests/unit/emulator/machine.hpp"

namespace margay::vmm::test {
namespace {

constexpr std::uint64_t linear = 0x0000'1234'5678'9abc;
constexpr std::uint64_t page = linear & ~0xfffull;

class GuestWalk : public testing::Test {
  protected:
    /// The guest-physical address, or all ones; `error` then has the code.
    std::uint64_t translate(std::uint64_t address, AccessKind kind) {
        PageTranslation translation;
        const auto result = walk(machine.ram, CpuMode::of(machine.state), machine.state.cr3,
                                 address, kind, translation);
        status = result.status;
        error = result.error_code;
        // The cache must say the same, cold and warm.
        for (int i = 0; i < 2; ++i) {
            const PageTranslation* cached = nullptr;
            const auto again = cache.translate(machine.ram, CpuMode::of(machine.state),
                                               machine.state.cr3, address, kind, cached);
            EXPECT_EQ(again.status, result.status);
            EXPECT_EQ(again.error_code, result.error_code);
            if (again.status == WalkStatus::ok) {
                EXPECT_EQ(cached->gpa, translation.gpa);
                EXPECT_EQ(cached->ram, translation.ram);
            }
        }
        return result.status == WalkStatus::ok ? translation.gpa | (address & 0xfff)
                                               : ~std::uint64_t{0};
    }
    void expect_fault(std::uint64_t address, AccessKind kind, std::uint32_t code) {
        translate(address, kind);
        EXPECT_EQ(status, WalkStatus::page_fault);
        EXPECT_EQ(error, code);
    }

    Machine machine;
    WalkCache cache;
    WalkStatus status = WalkStatus::ok;
    std::uint32_t error = 0;
};

TEST_F(GuestWalk, WithoutPagingAddressesAreTheSame) {
    machine.real_mode();
    EXPECT_EQ(translate(0x12345, AccessKind::write), 0x12345U);
}

TEST_F(GuestWalk, LongModeSmallPage) {
    machine.map(page, 0x5000);
    EXPECT_EQ(translate(linear, AccessKind::read), 0x5abcU);
    EXPECT_EQ(translate(linear, AccessKind::fetch), 0x5abcU);
    EXPECT_EQ(translate(linear, AccessKind::write), 0x5abcU);
}

TEST_F(GuestWalk, LongModeLargePages) {
    machine.ram.put<std::uint64_t>(machine.entry(page, 2), 0x4020'0000 | 0x83);
    EXPECT_EQ(translate(linear, AccessKind::read), 0x4020'0000 | (linear & 0x1f'ffff));
    machine.ram.put<std::uint64_t>(machine.entry(0xffff'8000'4000'0000, 3), 0x8000'0000 | 0x83);
    EXPECT_EQ(translate(0xffff'8000'6543'2101, AccessKind::read), 0xa543'2101U);
}

TEST_F(GuestWalk, FiveLevels) {
    machine.state.cr4 |= 1 << 12;
    const std::uint64_t high = 0x00ab'cdef'1234'5678;
    machine.ram.put<std::uint64_t>(machine.entry(high, 1, 5), 0x7003);
    EXPECT_EQ(translate(high, AccessKind::read), 0x7678U);
}

TEST_F(GuestWalk, PaeSmallAndLargePage) {
    machine.pae_mode();
    machine.ram.put<std::uint64_t>(machine.entry(0xc012'3000, 1), 0x5003);
    EXPECT_EQ(translate(0xc012'3456, AccessKind::write), 0x5456U);
    machine.ram.put<std::uint64_t>(machine.entry(0x4560'0000, 2), 0x1'2340'0083);
    EXPECT_EQ(translate(0x457a'bcde, AccessKind::read), 0x1'235a'bcdeU);
}

TEST_F(GuestWalk, PaeTopEntryHasReservedBits) {
    machine.pae_mode();
    const auto top = machine.entry(0x4000'0000, 3);
    machine.ram.put<std::uint64_t>(top, machine.table() | 3);
    expect_fault(0x4000'0000, AccessKind::read, 9);
}

TEST_F(GuestWalk, LegacySmallAndLargePage) {
    machine.legacy_mode();
    const auto table = machine.table();
    machine.ram.put<std::uint32_t>(machine.state.cr3 + 0x301 * 4,
                                   static_cast<std::uint32_t>(table | 7));
    machine.ram.put<std::uint32_t>(table + 0x23 * 4, 0x6003);
    EXPECT_EQ(translate(0xc042'3789, AccessKind::write), 0x6789U);
    EXPECT_EQ(machine.ram.get<std::uint32_t>(table + 0x23 * 4), 0x6063U);
    // The neighbouring entry must not be touched.
    EXPECT_EQ(machine.ram.get<std::uint32_t>(table + 0x24 * 4), 0U);
    // PSE-36: bits 20:13 are address bits 39:32.
    machine.ram.put<std::uint32_t>(machine.state.cr3 + 0x302 * 4, 0x0080'0083 | 0x12 << 13);
    EXPECT_EQ(translate(0xc0bb'ccdd, AccessKind::read), 0x12'00bb'ccddU);
    machine.ram.put<std::uint32_t>(machine.state.cr3 + 0x302 * 4, 0x00a0'0083);
    expect_fault(0xc0bb'ccdd, AccessKind::read, 9);
    machine.state.cr4 = 0;  // no PSE: the entry names a table
    machine.ram.put<std::uint32_t>(machine.state.cr3 + 0x302 * 4,
                                   static_cast<std::uint32_t>(table | 0x83));
    EXPECT_EQ(translate(0xc082'3789, AccessKind::read), 0x6789U);
}

TEST_F(GuestWalk, NotPresent) {
    expect_fault(linear, AccessKind::read, 0);
    expect_fault(linear, AccessKind::write, page_fault::write);
    machine.become_user();
    expect_fault(linear, AccessKind::read, page_fault::user);
    machine.state.efer |= 0x800;
    expect_fault(linear, AccessKind::fetch, page_fault::user | page_fault::fetch);
    machine.state.efer &= ~0x800ull;
    expect_fault(linear, AccessKind::fetch, page_fault::user);
}

TEST_F(GuestWalk, SupervisorMayWriteReadOnlyPagesWithoutWriteProtect) {
    machine.state.cr0 &= ~std::uint64_t{1 << 16};
    machine.map(page, 0x5000, Machine::present);
    EXPECT_EQ(translate(linear, AccessKind::write), 0x5abcU);
    machine.state.cr0 |= 1 << 16;
    expect_fault(linear, AccessKind::write, 3);
    EXPECT_EQ(translate(linear, AccessKind::read), 0x5abcU);
}

TEST_F(GuestWalk, UserNeedsUserAndWritableAtEveryLevel) {
    machine.become_user();
    machine.map(page, 0x5000, Machine::present | Machine::writable);
    expect_fault(linear, AccessKind::read, 5);
    machine.map(page, 0x5000, Machine::present | Machine::user);
    EXPECT_EQ(translate(linear, AccessKind::read), 0x5abcU);
    expect_fault(linear, AccessKind::write, 7);
    machine.map(page, 0x5000, 7);
    EXPECT_EQ(translate(linear, AccessKind::write), 0x5abcU);
    for (const unsigned level : {2U, 3U, 4U}) {
        const auto entry = machine.entry(page, level);
        const auto value = machine.ram.get<std::uint64_t>(entry);
        machine.ram.put<std::uint64_t>(entry, value & ~std::uint64_t{4});
        expect_fault(linear, AccessKind::read, 5);
        machine.ram.put<std::uint64_t>(entry, value & ~std::uint64_t{2});
        expect_fault(linear, AccessKind::write, 7);
        machine.ram.put<std::uint64_t>(entry, value);
    }
}

TEST_F(GuestWalk, NoExecute) {
    machine.state.efer |= 0x800;
    machine.map(page, 0x5000, 3 | Machine::no_execute);
    expect_fault(linear, AccessKind::fetch, page_fault::present | page_fault::fetch);
    EXPECT_EQ(translate(linear, AccessKind::read), 0x5abcU);
    machine.state.efer &= ~0x800ull;  // the bit is reserved now
    expect_fault(linear, AccessKind::read, 9);
}

TEST_F(GuestWalk, SmepAndSmap) {
    machine.map(page, 0x5000, 7);
    machine.state.cr4 |= 1 << 20;
    expect_fault(linear, AccessKind::fetch, page_fault::present | page_fault::fetch);
    EXPECT_EQ(translate(linear, AccessKind::read), 0x5abcU);
    machine.state.cr4 |= 1 << 21;
    expect_fault(linear, AccessKind::read, 1);
    expect_fault(linear, AccessKind::write, 3);
    machine.state.rflags |= rflags::ac;
    EXPECT_EQ(translate(linear, AccessKind::write), 0x5abcU);
    machine.state.rflags &= ~rflags::ac;
    machine.become_user();
    EXPECT_EQ(translate(linear, AccessKind::write), 0x5abcU);
}

TEST_F(GuestWalk, ReservedBits) {
    machine.map(page, 0x5000);
    const auto top = machine.entry(page, 4);
    machine.ram.put<std::uint64_t>(top, machine.ram.get<std::uint64_t>(top) | Machine::large);
    expect_fault(linear, AccessKind::read, 9);
    machine.ram.put<std::uint64_t>(machine.entry(0x40'0000, 2), 0x2000 | 0x83);
    expect_fault(0x40'0000, AccessKind::write, 11);
}

TEST_F(GuestWalk, AccessedAndDirtyBits) {
    machine.map(page, 0x5000, 3);
    translate(linear, AccessKind::read);
    for (const unsigned level : {1U, 2U, 3U, 4U}) {
        EXPECT_EQ(machine.ram.get<std::uint64_t>(machine.entry(page, level)) & 0x60, 0x20U);
    }
    translate(linear, AccessKind::write);
    EXPECT_EQ(machine.ram.get<std::uint64_t>(machine.entry(page, 1)) & 0x60, 0x60U);
    EXPECT_EQ(machine.ram.get<std::uint64_t>(machine.entry(page, 2)) & 0x60, 0x20U);
    // The guest cleans its page: the next write must say so again, from the cache as well.
    machine.map(page, 0x5000, 3);
    const PageTranslation* cached = nullptr;
    ASSERT_EQ(cache
                  .translate(machine.ram, CpuMode::of(machine.state), machine.state.cr3, linear,
                             AccessKind::write, cached)
                  .status,
              WalkStatus::ok);
    EXPECT_EQ(machine.ram.get<std::uint64_t>(machine.entry(page, 1)) & 0x60, 0x60U);
}

TEST_F(GuestWalk, FaultLeavesEntriesAlone) {
    machine.become_user();
    machine.map(page, 0x5000, 3);
    expect_fault(linear, AccessKind::write, 7);
    EXPECT_EQ(machine.ram.get<std::uint64_t>(machine.entry(page, 1)), 0x5003U);
}

TEST_F(GuestWalk, TableOutsideRam) {
    machine.ram.put<std::uint64_t>(machine.entry(page, 4), 0x7'0000'0003);
    translate(linear, AccessKind::read);
    EXPECT_EQ(status, WalkStatus::no_table);
}

TEST_F(GuestWalk, CacheSeesEveryChange) {
    machine.map(page, 0x5000);
    EXPECT_EQ(translate(linear, AccessKind::read), 0x5abcU);
    machine.map(page, 0x6000);
    EXPECT_EQ(translate(linear, AccessKind::read), 0x6abcU);
    // A change further up: another table behind the third level.
    const auto table = machine.table();
    machine.ram.put<std::uint64_t>(table + ((page >> 12) & 511) * 8, 0x7003);
    machine.ram.put<std::uint64_t>(machine.entry(page, 2), table | 3);
    EXPECT_EQ(translate(linear, AccessKind::read), 0x7abcU);
    machine.map(page, 0x5000, 0);
    expect_fault(linear, AccessKind::read, 0);
    // Another address space.
    machine.map(page, 0x5000);
    EXPECT_EQ(translate(linear, AccessKind::read), 0x5abcU);
    machine.state.cr3 = machine.table();
    expect_fault(linear, AccessKind::read, 0);
}

TEST_F(GuestWalk, WriteAfterCachedReadSetsTheDirtyBit) {
    machine.map(page, 0x5000);
    for (const auto kind : {AccessKind::read, AccessKind::write}) {
        const PageTranslation* cached = nullptr;
        ASSERT_EQ(cache
                      .translate(machine.ram, CpuMode::of(machine.state), machine.state.cr3, linear,
                                 kind, cached)
                      .status,
                  WalkStatus::ok);
        EXPECT_EQ(machine.ram.get<std::uint64_t>(machine.entry(page)) & Machine::dirty,
                  kind == AccessKind::write ? Machine::dirty : 0);
    }
}

TEST_F(GuestWalk, CacheReadsNoTables) {
    machine.map(page, 0x5000);
    translate(linear, AccessKind::read);
    const auto before = machine.ram.windows;
    const PageTranslation* cached = nullptr;
    ASSERT_EQ(cache
                  .translate(machine.ram, CpuMode::of(machine.state), machine.state.cr3, linear,
                             AccessKind::read, cached)
                  .status,
              WalkStatus::ok);
    EXPECT_EQ(machine.ram.windows, before);
}

}  // namespace
}  // namespace margay::vmm::test
