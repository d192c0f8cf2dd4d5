// One unit of VT-d against a model of its registers, its tables' entries, and page tables in its format.
#include "ukernel/arch/x86_64/iommu/vtd/unit.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "table_frames.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/fault_records.hpp"
#include "ukernel/arch/x86_64/iommu/vtd/handles.hpp"
#include "ukernel/memory/format/vtd.hpp"
#include "ukernel/memory/page_table.hpp"

namespace margay::iommu::vtd {
namespace {

constexpr std::uint64_t queue_at = 0x10'0000, done_at = 0x20'0008, root_at = 0x40'0000,
                        interrupts_at = 0x50'0000;
// 16-bit domains, 39 and 48 bits, all pages, one fault record at 220h; queue, interrupts, snooped.
constexpr std::uint64_t basic =
                            6 | 1ull << 9 | 1ull << 10 | 47ull << 16 | 3ull << 34 | 0x22ull << 24,
                        extended = 1 | 1 << 1 | 1 << 3;

// Does what the command register says, one thing at a time, and takes descriptors when the tail moves (§11.4.4, §6.5.2).
struct Model {
    std::map<unsigned, std::uint64_t> registers{{reg::capability, basic},
                                                {reg::extended_capability, extended}};
    std::vector<Descriptor> queue = std::vector<Descriptor>(256);
    std::atomic<std::uint32_t> done{0};
    std::vector<std::uint64_t> seen;  // first words of what was done, waits left out
    std::vector<std::string> steps;
    bool answers = true;
    unsigned pauses = 0;

    std::uint32_t& status() { return status_; }
    bool is(std::uint32_t bit) const { return (status_ & bit) != 0; }

    std::uint64_t read(unsigned offset) { return registers[offset]; }
    std::uint32_t read32(unsigned offset) {
        return offset == reg::status ? status_ : static_cast<std::uint32_t>(registers[offset]);
    }
    void write(unsigned offset, std::uint64_t value) {
        registers[offset] = value;
        if (offset != reg::queue_tail || !is(command::queue)) return;
        ASSERT_LT(value, queue.size() * sizeof(Descriptor));
        std::uint64_t& head = registers[reg::queue_head];
        while (answers && head != value) {
            run(queue[head / sizeof(Descriptor)]);
            head = (head + sizeof(Descriptor)) % (queue.size() * sizeof(Descriptor));
        }
    }
    void write32(unsigned offset, std::uint32_t value) {
        if (offset == reg::protected_memory) {
            steps.push_back("protected memory");
            registers[offset] = value >> 31;
            return;
        }
        if (offset != reg::command) {
            registers[offset] = value;
            return;
        }
        const std::uint32_t stays = command::translation | command::queue | command::interrupts |
                                    command::old_messages | command::advanced_log;
        const std::uint32_t changed = (value ^ status_) & stays, once = value & command::once;
        ASSERT_EQ(__builtin_popcount(changed | once), 1) << "one at a time (§11.4.4)";
        status_ = (status_ & ~stays) | (value & stays);
        for (const auto& [bit, name] : names)
            if (((changed | once) & bit) != 0)
                steps.push_back(std::string{(value & bit) != 0 ? "+" : "-"} + name);
        // What is set once stays set; a buffer is empty at once.
        status_ |= once & ~command::flush_buffer;
        if ((changed & value & command::queue) != 0) {
            ASSERT_EQ(registers[reg::queue_tail], 0u);
            ASSERT_EQ(registers[reg::queue_address], queue_at);
            registers[reg::queue_head] = 0;
        }
        if ((changed & value & command::interrupts) != 0) {
            ASSERT_TRUE(is(command::set_interrupt_table)) << "there is a table";
        }
        if ((changed & value & command::translation) != 0) {
            ASSERT_TRUE(is(command::set_root));
        }
    }
    void run(const Descriptor& d) {
        if ((d.words[0] & 15) != 5) return seen.push_back(d.words[0]);
        ASSERT_EQ(d.words[0] & 0xffff'ffff, 0x25u)
            << "a store, no interrupt: both abort an emulator";
        ASSERT_EQ(d.words[1], done_at);
        done.store(static_cast<std::uint32_t>(d.words[0] >> 32));
    }

    const std::map<std::uint32_t, const char*> names{
        {command::translation, "translation"}, {command::set_root, "root"},
        {command::flush_buffer, "flush"},      {command::queue, "queue"},
        {command::interrupts, "interrupts"},   {command::old_messages, "old messages"},
        {command::advanced_log, "log"},        {command::set_interrupt_table, "table"}};
    std::uint32_t status_ = 0;
};

struct Registers {
    Model* model;
    std::uint64_t read(unsigned o) const { return model->read(o); }
    void write(unsigned o, std::uint64_t v) const { model->write(o, v); }
    std::uint32_t read32(unsigned o) const { return model->read32(o); }
    void write32(unsigned o, std::uint32_t v) const { model->write32(o, v); }
    void pause() const { ++model->pauses; }
};

struct VtdUnit : testing::Test {
    bool enable(bool interrupts = true, bool x2apic = false) {
        return unit.enable(HostPhys{root_at}, HostPhys{interrupts ? interrupts_at : 0}, x2apic);
    }
    Model model;
    Unit<Registers> unit{Registers{&model}, HostPhys{queue_at}, model.queue.data(),
                         HostPhys{done_at}, &model.done};
};

TEST_F(VtdUnit, IsEnabledLast) {
    ASSERT_TRUE(enable());
    EXPECT_EQ(model.steps, (std::vector<std::string>{"+queue", "+root", "+table", "+interrupts",
                                                     "+translation"}));
    EXPECT_EQ(model.registers[reg::root_table], root_at);
    EXPECT_EQ(model.registers[reg::interrupt_table], interrupts_at | 14) << "2^15 entries";
    // Nothing of before is remembered: contexts, translations, interrupts.
    EXPECT_EQ(model.seen, (std::vector<std::uint64_t>{0x11, 0x12, 0x04}));
}

// Its tables and ranges hold until there are ours; what it allowed, and errors of before, are gone by then.
TEST_F(VtdUnit, WhatFirmwareLeftHoldsUntilTheEnd) {
    model.status() = command::translation | command::interrupts | command::queue |
                     command::set_root | command::set_interrupt_table | command::old_messages |
                     command::advanced_log;
    model.registers[reg::fault_status] = 1 << 4;
    model.registers[reg::queue_head] = model.registers[reg::queue_tail] = 0x40;
    model.registers[reg::capability] |= 1 << 5;
    model.registers[reg::protected_memory] = 1u << 31 | 1;
    ASSERT_TRUE(enable(true, true));
    EXPECT_EQ(model.steps, (std::vector<std::string>{"-queue", "-log", "+queue", "+root", "+table",
                                                     "-old messages", "protected memory"}));
    EXPECT_TRUE(model.is(command::translation) && model.is(command::interrupts));
    EXPECT_EQ(model.registers[reg::fault_status], 0x70u) << "cleared by ones";
    EXPECT_EQ(model.registers[reg::interrupt_table], interrupts_at | 1 << 11 | 14)
        << "destinations of 32 bits";
}

TEST_F(VtdUnit, WithoutInterrupts) {
    ASSERT_TRUE(enable(false));
    EXPECT_EQ(model.steps, (std::vector<std::string>{"+queue", "+root", "+translation"}));
}

TEST_F(VtdUnit, CompletionWaitsForWhatWentBefore) {
    model.registers[reg::capability] |= 3ull << 54;  // it drains
    ASSERT_TRUE(enable());
    model.seen.clear();
    unit.submit(invalidate_context(0x1234, 7));
    unit.forget_domain(7);
    unit.submit(invalidate_interrupt(0x4001));
    ASSERT_TRUE(unit.complete());
    EXPECT_EQ(model.seen,
              (std::vector<std::uint64_t>{0x31 | 7 << 16 | 0x1234ull << 32, 0x22 | 0xc0 | 7 << 16,
                                          0x14 | 0x4001ull << 32}));
}

TEST_F(VtdUnit, TheQueueGoesRound) {
    ASSERT_TRUE(enable());
    model.seen.clear();
    for (unsigned n = 0; n < 2000; ++n) {
        unit.submit(invalidate_interrupt(n));
        if (n % 7 == 0) {
            ASSERT_TRUE(unit.complete());
        }
    }
    for (unsigned n = 0; n < 2000; ++n) unit.submit(invalidate_interrupt(n));
    ASSERT_TRUE(unit.complete());
    ASSERT_EQ(model.seen.size(), 4000u);
    for (unsigned n = 0; n < 4000; ++n) ASSERT_EQ(model.seen[n] >> 32, n % 2000);
}

TEST_F(VtdUnit, AWriteBufferIsFlushedBeforeAnything) {
    model.registers[reg::capability] |= 1 << 4;
    ASSERT_TRUE(enable());
    model.steps.clear();
    unit.forget_domain(1);
    ASSERT_TRUE(unit.complete());
    EXPECT_EQ(model.steps, (std::vector<std::string>{"+flush"}));
}

TEST_F(VtdUnit, OneThatDoesNotAnswerIsFound) {
    ASSERT_TRUE(enable());
    model.answers = false;
    unit.submit(invalidate_interrupt(1));
    EXPECT_FALSE(unit.complete());
    EXPECT_GT(model.pauses, 1000u);
}

TEST(VtdCapabilities, AreReadAsTheyAre) {
    const Capabilities has{basic, extended};
    EXPECT_EQ(has.levels(), 4u);
    EXPECT_TRUE(has.has_levels(3) && has.has_levels(4));
    EXPECT_EQ(has.address_bits(), 48u);
    EXPECT_EQ(has.largest_leaf(), 2u);
    EXPECT_EQ(has.domains(), 65536u);
    EXPECT_EQ(has.fault_records(), 1u);
    EXPECT_EQ(has.fault_offset(), 0x220u);
    EXPECT_FALSE(has.remembers_absence() || has.has_write_buffer() || has.protects_memory() ||
                 has.knows_x2apic());
    EXPECT_TRUE(has.is_snooped() && has.has_queue() && has.remaps_interrupts());
    // As QEMU's are by default: 39 bits.
    EXPECT_EQ((Capabilities{1ull << 9 | 38ull << 16, 0}.levels()), 3u);
    EXPECT_EQ((Capabilities{1ull << 9 | 38ull << 16, 0}.address_bits()), 39u);
    EXPECT_EQ((Capabilities{1ull << 8, 0}.levels()), 0u) << "two levels";
    EXPECT_EQ((Capabilities{1ull << 34, 0}.largest_leaf()), 1u);
    EXPECT_EQ((Capabilities{1ull << 35, 0}.largest_leaf()), 0u) << "nobody has 1 GiB without 2 MiB";
    EXPECT_EQ((Capabilities{0, 0}.domains()), 16u);
    EXPECT_EQ((Capabilities{7, 0}.domains()), 65536u);
    EXPECT_TRUE((Capabilities{~0ull, ~0ull}.is_off())) << "what nobody answers";
    EXPECT_TRUE((Capabilities{basic, extended | 1 << 7}.forces_snoop()) && !has.forces_snoop() &&
                !has.is_off());
}

TEST(VtdEntries, AreAsTheManualHasThem) {
    EXPECT_EQ(root_entry(HostPhys{0x1234000}).low, 0x1234001u);
    ContextEntry c{};
    c.translate(0xabcd, HostPhys{0x5678000}, 4);
    EXPECT_EQ(c.low.load(), 0x5678001u) << "present, by tables";
    EXPECT_EQ(c.high.load(), 0xabcd00u | 2) << "48 bits";
    c.translate(1, HostPhys{0x5678000}, 3);
    EXPECT_EQ(c.high.load(), 0x100u | 1) << "39 bits";
    c.block();
    EXPECT_EQ(c.low.load(), 0u);
    InterruptEntry e{};
    e.set_owner(0x1234);
    EXPECT_EQ(e.high.load(), 0x41234u) << "the whole requester is compared";
    EXPECT_EQ(e.low.load(), 0u) << "not present";
    EXPECT_EQ(interrupt_entry(0x41, 3, false, false), 1u | 0x41u << 16 | 3ull << 40);
    EXPECT_EQ(interrupt_entry(0x41, 300, true, true), 1u | 1u << 4 | 0x41u << 16 | 300ull << 32);
    EXPECT_EQ(message_address(0x4001), 0xfee0'0000u | 0x4001u << 5 | 1 << 4);
    EXPECT_EQ(message_address(interrupt_entries - 1) >> 20, 0xfeeu);
    EXPECT_EQ(line_high(Handles::line(2, 5)), (2u * 256 + 5) << 17 | 1 << 16);
}

TEST(VtdHandles, EachIsOneMessages) {
    static Handles h;
    std::set<unsigned> all;
    for (unsigned n = h.take(); n != Handles::none; n = h.take()) all.insert(n);
    EXPECT_EQ(all.size(), interrupt_entries - Handles::first_message);
    EXPECT_EQ(*all.begin(), Handles::first_message) << "lines have their own";
    EXPECT_EQ(*all.rbegin(), interrupt_entries - 1);
    h.release(20000);
    EXPECT_EQ(h.take(), 20000u);
    EXPECT_EQ(h.take(), Handles::none);
}

struct VtdFaults : testing::Test {
    void put(unsigned index, Requester r, std::uint64_t address, unsigned reason, bool is_read) {
        model.registers[0x220 + index * 16] = address;
        model.registers[0x228 + index * 16] =
            1ull << 63 | (is_read ? 1ull << 62 : 0) | std::uint64_t{reason} << 32 | r;
        model.registers[reg::fault_status] = index << 8 | 2;
    }
    // Cleared by a one in the record's last half.
    struct Fr : Registers {
        void write32(unsigned o, std::uint32_t v) const {
            if (o >= 0x220 && o % 16 == 12) {
                ASSERT_EQ(v, 1u << 31);
                model->registers[o - 4] &= ~(1ull << 63);
            } else if (o == reg::fault_status) {
                model->registers[o] &= ~std::uint64_t{v};
            } else {
                Registers::write32(o, v);
            }
        }
    };
    Model model;
    Capabilities has{basic | 3ull << 40, extended};  // four records
    FaultRecords<Fr> faults{Fr{{&model}}, has};
};

TEST_F(VtdFaults, AreTakenInOrder) {
    faults.start(0xfee0'3000, 0xf2);
    EXPECT_EQ(model.registers[reg::fault_address], 0xfee0'3000u);
    EXPECT_EQ(model.registers[reg::fault_data], 0xf2u);
    faults.set_interrupts(false);
    EXPECT_EQ(model.registers[reg::fault_control], 1u << 31);
    faults.set_interrupts(true);
    EXPECT_EQ(model.registers[reg::fault_control], 0u);
    Fault f;
    EXPECT_FALSE(faults.take(f));
    put(0, 0x30, 0x7000, 6, true);
    put(1, 0x31, 0x4001ull << 48, 0x22, false);
    put(3, 0x20, 0x12345000, 5, false);
    ASSERT_TRUE(faults.take(f)) << "the first is the fourth";
    EXPECT_EQ(f.requester, 0x20u);
    EXPECT_EQ(f.address, 0x12345000u);
    EXPECT_EQ(f.kind, Fault::Kind::write);
    ASSERT_TRUE(faults.take(f));
    EXPECT_EQ(f.requester, 0x30u);
    EXPECT_EQ(f.kind, Fault::Kind::read);
    ASSERT_TRUE(faults.take(f));
    EXPECT_EQ(f.kind, Fault::Kind::interrupt);
    EXPECT_EQ(f.address, 0x4001u) << "the handle";
    EXPECT_FALSE(faults.take(f));
}

TEST_F(VtdFaults, ErrorsOfTheQueueAndLostFaults) {
    Fault f;
    model.registers[reg::fault_status] = 1 << 4 | 1;
    ASSERT_TRUE(faults.take(f));
    EXPECT_EQ(f.kind, Fault::Kind::bad_command);
    EXPECT_FALSE(faults.take(f)) << "told once";
    EXPECT_EQ(model.registers[reg::fault_status] & 1, 1u);
    faults.end();
    EXPECT_EQ(model.registers[reg::fault_status], 0u) << "records are written again";
    model.registers[reg::fault_status] = 1 << 6;
    ASSERT_TRUE(faults.take(f));
    EXPECT_EQ(f.kind, Fault::Kind::does_not_forget);
    for (unsigned i = 0; i < 4; ++i) put(i, 0x20, 0x1000, 5, false);
    model.registers[reg::fault_status] |= 1;
    faults.drop();
    EXPECT_FALSE(faults.take(f));
    EXPECT_EQ(model.registers[reg::fault_status] & 1, 0u);
}

TEST(VtdFormatTest, LeavesOfEachSizeInTablesOfFourLevelsAndOfThree) {
    for (const unsigned levels : {4u, 3u})
        for (const bool is_snooped : {true, false}) {
            VtdFormat::is_snooped = is_snooped;
            TableFrames frames;
            const HostPhys root = *frames.allocate();
            PageTable<TableFrames, VtdFormat> t{frames, root, 2, levels};
            constexpr std::uint64_t rights = VtdFormat::read | VtdFormat::write;
            const auto entry = [&](HostPhys table, unsigned index) {
                return frames.table(table)[index];
            };
            const auto next = [](std::uint64_t e) { return HostPhys{e & VtdFormat::address_mask}; };
            ASSERT_EQ(t.map(1ull << 30, HostPhys{5ull << 30}, 1ull << 30, rights), Status::ok);
            ASSERT_EQ(t.map(2ull << 30, HostPhys{2 << 20}, 2 << 20, VtdFormat::read), Status::ok);
            ASSERT_EQ(t.map((2ull << 30) + (2 << 20), HostPhys{0x7000}, 4096, rights), Status::ok);
            HostPhys third = root;
            if (levels == 4) {
                EXPECT_EQ(entry(root, 0) & 0xfff, 3u) << "all rights on the way";
                third = next(entry(root, 0));
            }
            EXPECT_EQ(entry(third, 1), 5ull << 30 | 0x80 | rights);
            const std::uint64_t middle = entry(third, 2);
            EXPECT_EQ(middle & 0xfff, 3u);
            EXPECT_EQ(entry(next(middle), 0), 2u << 20 | 0x80 | VtdFormat::read);
            EXPECT_EQ(entry(next(entry(next(middle), 1)), 0), 0x7000u | rights);
            EXPECT_EQ(t.map(1ull << 30, HostPhys{0}, 4096, rights), Status::occupied);
            EXPECT_EQ(t.lookup((2ull << 30) + 0x1234)->physical.value(), (2ull << 20) + 0x1234);
            VtdFormat::snoop = VtdFormat::force_snoop;
            ASSERT_EQ(t.map(4096, HostPhys{0x9000}, 4096, VtdFormat::read), Status::ok);
            VtdFormat::snoop = 0;
            EXPECT_EQ(entry(next(entry(next(entry(third, 0)), 0)), 1), 0x9000u | 1 | 1 << 11);
            t.unmap(4096, 4096);
            t.unmap(1ull << 30, 1ull << 30);
            t.unmap(2ull << 30, 2 << 20);
            t.unmap((2ull << 30) + (2 << 20), 4096);
            for (const std::uint64_t e : frames.tables.front()) EXPECT_EQ(e, 0u);
            EXPECT_EQ(frames.released, levels + 1);
        }
    VtdFormat::is_snooped = true;
}

}  // namespace
}  // namespace margay::iommu::vtd
