// One unit of AMD's IOMMU against a model of its registers, and page tables in its format.
#include "ukernel/arch/x86_64/iommu/amd_vi/unit.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <vector>

#include "table_frames.hpp"
#include "ukernel/memory/format/amd_vi.hpp"
#include "ukernel/memory/page_table.hpp"

namespace margay::iommu::amd_vi {
namespace {

constexpr std::uint64_t ring_at = 0x10'0000, done_at = 0x20'0008, table_at = 0x40'0000;

// Takes commands from the ring when its tail moves, as the specification says (§2.4).
struct Model {
    std::map<unsigned, std::uint64_t> registers;
    std::vector<Command> ring = std::vector<Command>(256);
    std::atomic<std::uint64_t> done{0};
    std::vector<std::uint64_t> seen;  // first words of what was done, completion waits left out
    std::vector<unsigned> order;      // registers as they were written
    bool answers = true;
    unsigned pauses = 0;

    void write(unsigned offset, std::uint64_t value) {
        order.push_back(offset);
        registers[offset] = value;
        if (offset != reg::command_tail) return;
        ASSERT_LT(value, ring.size() * sizeof(Command)) << "hangs an emulator";
        ASSERT_EQ(value % sizeof(Command), 0u);
        if ((registers[reg::control] & (control::enable | control::commands)) !=
                (control::enable | control::commands) ||
            !answers)
            return;
        std::uint64_t& head = registers[reg::command_head];
        while (head != value) {
            run(ring[head / sizeof(Command)]);
            head = (head + sizeof(Command)) % (ring.size() * sizeof(Command));
        }
    }
    void run(const Command& c) {
        if (c.words[0] >> 60 != 1) return seen.push_back(c.words[0]);
        ASSERT_EQ(c.words[0] & 7, 1u) << "a store, no interrupt";
        ASSERT_EQ(c.words[0] & 0x000f'ffff'ffff'fff8, done_at);
        done.store(c.words[1]);
    }
};

struct Registers {
    Model* model;
    std::uint64_t read(unsigned offset) const { return model->registers[offset]; }
    void write(unsigned offset, std::uint64_t value) const { model->write(offset, value); }
    void pause() const { ++model->pauses; }
};

struct AmdViUnit : testing::Test {
    Model model;
    Unit<Registers> unit{Registers{&model}, HostPhys{ring_at}, model.ring.data(), HostPhys{done_at},
                         &model.done};
};

TEST_F(AmdViUnit, IsEnabledLast) {
    model.registers[reg::control] = control::enable;
    unit.enable(HostPhys{table_at}, unit_flag::ht_tunnel | unit_flag::isochronous);
    ASSERT_FALSE(model.order.empty());
    EXPECT_EQ(model.order.front(), reg::control) << "what firmware left is off first";
    EXPECT_EQ(model.order.back(), reg::control);
    EXPECT_EQ(model.registers[reg::device_table], table_at | 511) << "2 MiB in pages, minus one";
    for (const unsigned excluded : {reg::exclusion_base, reg::exclusion_limit})
        EXPECT_TRUE(model.registers.contains(excluded) && model.registers[excluded] == 0);
    EXPECT_EQ(model.registers[reg::command_buffer], ring_at | 8ull << 56);
    EXPECT_EQ(model.registers[reg::control], control::enable | control::commands |
                                                 control::coherent | control::ht_tunnel |
                                                 control::isochronous);
}

TEST_F(AmdViUnit, CompletionWaitsForWhatWentBefore) {
    unit.enable(HostPhys{table_at}, 0);
    unit.submit(invalidate_device(0x1234));
    unit.submit(invalidate_domain(7));
    unit.submit(invalidate_interrupts(0x1234));
    ASSERT_TRUE(unit.complete());
    EXPECT_EQ(model.seen, (std::vector<std::uint64_t>{2ull << 60 | 0x1234, 3ull << 60 | 7ull << 32,
                                                      5ull << 60 | 0x1234}));
    EXPECT_EQ(invalidate_domain(7).words[1], 0x7fff'ffff'ffff'f003u) << "all pages and tables";
}

TEST_F(AmdViUnit, TheRingGoesRound) {
    unit.enable(HostPhys{table_at}, 0);
    for (unsigned n = 0; n < 2000; ++n) {
        unit.submit(invalidate_device(static_cast<Requester>(n)));
        if (n % 7 == 0) {
            ASSERT_TRUE(unit.complete());
        }
    }
    // More than the ring holds, and nobody asks for an end.
    for (unsigned n = 0; n < 2000; ++n) unit.submit(invalidate_device(static_cast<Requester>(n)));
    ASSERT_TRUE(unit.complete());
    ASSERT_EQ(model.seen.size(), 4000u);
    for (unsigned n = 0; n < 4000; ++n) ASSERT_EQ(model.seen[n] & 0xffff, n % 2000);
}

TEST_F(AmdViUnit, OneThatDoesNotAnswerIsFound) {
    unit.enable(HostPhys{table_at}, 0);
    model.answers = false;
    unit.submit(invalidate_device(1));
    EXPECT_FALSE(unit.complete());
    EXPECT_GT(model.pauses, 1000u);
}

// At no moment does an entry let anything through that it did not before or will not after.
TEST(AmdViDevice, EntriesAreBlockedInBetween) {
    DeviceEntry e{};
    e.block_dma();
    e.block_interrupts();
    EXPECT_EQ(e.translation.load(), 3u) << "valid, no levels, no rights";
    EXPECT_EQ(e.interrupts.load(), 1u) << "valid, everything aborted";
    e.translate(9, HostPhys{0x1234000});
    EXPECT_EQ(e.domain.load(), 9u);
    EXPECT_EQ(e.translation.load(), 3u | 4u << 9 | 0x1234000 | 3ull << 61);
    e.remap_interrupts(HostPhys{0x5678000});
    EXPECT_EQ(e.interrupts.load(), 1u | 9u << 1 | 0x5678000 | 2ull << 60) << "512 entries";
    e.block_dma();
    EXPECT_EQ(e.translation.load(), 3u);
    EXPECT_EQ(e.domain.load(), 0u);
    EXPECT_EQ(interrupt_entry(0x41, 3), 1u | 3u << 8 | 0x41u << 16);
}

TEST(AmdViFormatTest, LeavesOfEachSizeAndWhatLeadsToThem) {
    TableFrames frames;
    const HostPhys root = *frames.allocate();
    PageTable<TableFrames, AmdViFormat> t{frames, root, 2};
    constexpr std::uint64_t rights = AmdViFormat::read | AmdViFormat::write;
    const auto entry = [&](HostPhys table, unsigned index) { return frames.table(table)[index]; };
    const auto next = [](std::uint64_t e) { return HostPhys{e & AmdViFormat::address_mask}; };
    ASSERT_EQ(t.map(1ull << 30, HostPhys{5ull << 30}, 1ull << 30, rights), Status::ok);
    ASSERT_EQ(t.map(2ull << 30, HostPhys{2 << 20}, 2 << 20, AmdViFormat::read), Status::ok);
    ASSERT_EQ(t.map((2ull << 30) + (2 << 20), HostPhys{0x7000}, 4096, rights), Status::ok);
    const std::uint64_t top = entry(root, 0);
    EXPECT_EQ(AmdViFormat::next_level(top), 3u);
    EXPECT_EQ(top >> 61 & 3, 3u) << "rights are conjoined on the way";
    EXPECT_EQ(entry(next(top), 1), 5ull << 30 | 1 | rights) << "1 GiB: next level 0 at level 3";
    const std::uint64_t middle = entry(next(top), 2);
    EXPECT_EQ(AmdViFormat::next_level(middle), 2u);
    EXPECT_EQ(entry(next(middle), 0), 2u << 20 | 1 | AmdViFormat::read);
    const std::uint64_t low = entry(next(middle), 1);
    EXPECT_EQ(AmdViFormat::next_level(low), 1u);
    EXPECT_EQ(entry(next(low), 0), 0x7000u | 1 | rights);
    EXPECT_EQ(t.map(1ull << 30, HostPhys{0}, 4096, rights), Status::occupied);
    EXPECT_EQ(t.lookup((2ull << 30) + 0x1234)->physical.value(), (2ull << 20) + 0x1234);
    t.unmap(1ull << 30, 1ull << 30);
    t.unmap(2ull << 30, 2 << 20);
    t.unmap((2ull << 30) + (2 << 20), 4096);
    EXPECT_EQ(entry(root, 0), 0u) << "a leaf, and a table without any, are gone as a whole";
    EXPECT_EQ(frames.released, 3u);
}

}  // namespace
}  // namespace margay::iommu::amd_vi
