#include "servers/pci/function.hpp"

#include <random>

#include "model.hpp"

namespace margay::pci {
namespace {

struct PciFunction : testing::Test {
    model::Machine machine;
    Function f;
    static constexpr Address at{0, 3, 0};

    bool read() { return read_function(machine, at, f); }
};

// As QEMU's NVMe controller is.
TEST_F(PciFunction, SaysWhatItIs) {
    auto& nvme = machine.add(0, 3, 0, 0x00101b36, 0x010802);
    nvme.bar(0, 4, 0xfebf0000, 0x4000);
    nvme.bytes[reg::interrupt_pin] = 1;
    nvme.express(0, true);
    nvme.capability(0x01, 0x60);
    nvme.capability(0x11, 0x40).set(0x42, 64, 2).set(0x44, 0x2000, 4).set(0x48, 0x3000, 4);
    const auto before = nvme.bytes;
    ASSERT_TRUE(read());
    EXPECT_EQ(f.vendor, 0x1b36);
    EXPECT_EQ(f.device, 0x0010);
    EXPECT_EQ(f.class_code, 0x010802u);
    EXPECT_EQ(f.revision, 3u);
    EXPECT_EQ(f.interrupt_pin, 1u);
    EXPECT_FALSE(f.is_bridge);
    EXPECT_TRUE(f.function_level_reset);
    EXPECT_EQ(f.capabilities.msix, 0x40u);
    EXPECT_EQ(f.capabilities.power, 0x60u);
    EXPECT_EQ(f.capabilities.express, 0x80u);
    EXPECT_EQ(f.capabilities.msi, 0u);
    ASSERT_EQ(f.bar[0].kind, Bar::Kind::memory);
    EXPECT_TRUE(f.bar[0].wide);
    EXPECT_FALSE(f.bar[0].prefetchable);
    EXPECT_EQ(f.bar[0].base, 0xfebf0000u);
    EXPECT_EQ(f.bar[0].size, 0x4000u);
    EXPECT_EQ(f.bar[1].kind, Bar::Kind::none) << "the upper half of the one before";
    EXPECT_EQ(f.msix.entries, 65u);
    EXPECT_EQ(f.msix.offset, 0x2000u);
    EXPECT_EQ(f.msix.pending_offset, 0x3000u);
    EXPECT_EQ(nvme.bytes, before) << "as it was";
    EXPECT_FALSE(nvme.probed_while_decoding);
    EXPECT_EQ(nvme.status_writes, 0u);
}

TEST_F(PciFunction, BarsOfEachKind) {
    auto& d = machine.add(0, 3, 0, 0x10d38086);
    d.bar(0, 0, 0xc0000000, 128 << 10);
    d.bar(1, 8, 0xd0000000, 1 << 20);
    d.bar(2, 1, 0xc000, 32);
    d.bar(3, 0xc, 0xe0'0000'0000, 8ull << 30);
    ASSERT_TRUE(read());
    EXPECT_EQ(f.bar[0].size, 128u << 10);
    EXPECT_TRUE(f.bar[1].prefetchable);
    EXPECT_EQ(f.bar[2].kind, Bar::Kind::ports);
    EXPECT_EQ(f.bar[2].base, 0xc000u);
    EXPECT_EQ(f.bar[2].size, 32u);
    EXPECT_EQ(f.bar[3].base, 0xe0'0000'0000u);
    EXPECT_EQ(f.bar[3].size, 8ull << 30);
    EXPECT_EQ(f.bar[5].kind, Bar::Kind::none);
}

TEST_F(PciFunction, BarsThatCannotBe) {
    auto& d = machine.add(0, 3, 0, 0x10d38086);
    d.bar(0, 0, 0xc0000000, 4096);
    d.writable[reg::first_bar + 2] = 0xf0;  // a hole in its bits
    d.bar(1, 0, 0xc0001000, 1 << 20);       // not at a multiple of its size
    d.bar(5, 0, 0xd0000000, 4096);
    d.bytes[reg::first_bar + 20] |= 4;  // 64 bits, and no register is left
    ASSERT_TRUE(read());
    EXPECT_EQ(f.bar[0].size, 0u);
    EXPECT_EQ(f.bar[1].size, 0u);
    EXPECT_EQ(f.bar[5].size, 0u);
}

TEST_F(PciFunction, MsixTablesThatLie) {
    struct Case {
        std::uint32_t table, pending;
        unsigned last;
        bool good;
    };
    for (const Case& c :
         {Case{0x0, 0x800, 3, true}, Case{0xff0, 0x800, 0, true}, Case{0xff0, 0x800, 1, false},
          Case{0x1000, 0x800, 0, false}, Case{0x0, 0x1000, 0, false}, Case{0x6, 0x800, 0, false},
          Case{0x7, 0x800, 0, false}, Case{0x1, 0x800, 0, false}, Case{0x0, 0xff8, 63, true},
          Case{0x0, 0xff8, 64, false}, Case{0xfffffff8, 0x800, 2047, false}}) {
        auto& d = machine.add(0, 3, 0, 0x10411af4);
        d.bar(0, 0, 0xc0000000, 4096);
        d.bar(1, 1, 0xc000, 4096);
        d.capability(0x11, 0x40).set(0x42, c.last, 2).set(0x44, c.table, 4).set(0x48, c.pending, 4);
        ASSERT_TRUE(read());
        EXPECT_EQ(f.msix.entries, c.good ? c.last + 1 : 0) << std::hex << c.table << c.pending;
    }
}

TEST_F(PciFunction, ListsThatDoNotEnd) {
    auto& d = machine.add(0, 3, 0, 0x10d38086);
    d.capability(0x05, 0x50).capability(0x01, 0x40);
    d.bytes[0x51] = 0x40;  // back to the first
    ASSERT_TRUE(read());
    EXPECT_EQ(f.capabilities.msi, 0x50u);
    EXPECT_EQ(f.capabilities.power, 0x40u);
    d.bytes[0x51] = 0x10;  // into the header
    ASSERT_TRUE(read());
    d.bytes[reg::capabilities] = 0x50;
    d.bytes[0x51] = 0x50;  // to itself
    ASSERT_TRUE(read());
    EXPECT_LT(machine.reads, 200u);
    // At the very end there is no room for one of its size.
    d.bytes[0x51] = 0xfc;
    d.bytes[0xfc] = 0x11;
    ASSERT_TRUE(read());
    EXPECT_EQ(f.capabilities.msix, 0u);
    // The extended list as well.
    d.express(0, false);
    d.set(0x100, 0x100'0'0003 | 0x100u << 20, 4);
    ASSERT_TRUE(read());
    d.set(0x100, 0x1ff0'0003u | 0xffcu << 20, 4).set(0xffc, 0x0001'000d, 4);
    ASSERT_TRUE(read());
    EXPECT_EQ(f.capabilities.access_control, 0u);
    // Without the status bit there is none, whatever the pointer says.
    d.bytes[reg::status] = 0;
    ASSERT_TRUE(read());
    EXPECT_EQ(f.capabilities.msi, 0u);
}

TEST_F(PciFunction, OnesThatAreNotThere) {
    EXPECT_FALSE(read());
    machine.add(0, 3, 0, 0);
    EXPECT_FALSE(read());
    machine.add(0, 3, 0, 0x1234ffff);
    EXPECT_FALSE(read());
}

// What the machine itself needs is not turned off for a moment.
TEST_F(PciFunction, HostsAndBridgesAreNotProbed) {
    for (const std::uint32_t class_code : {0x060000u, 0x060100u, 0x068000u, 0x080600u}) {
        auto& d = machine.add(0, 3, 0, 0x29c08086, class_code);
        d.bar(0, 0, 0xc0000000, 4096);
        d.writable[reg::command] = 0;
        const auto before = d.bytes;
        ASSERT_TRUE(read());
        EXPECT_EQ(f.bar[0].kind, Bar::Kind::none);
        EXPECT_FALSE(d.probed_while_decoding);
        EXPECT_EQ(d.bytes, before);
    }
}

TEST_F(PciFunction, RandomRegisters) {
    std::mt19937_64 random{5};
    for (unsigned n = 0; n < 3000; ++n) {
        auto& d = machine.add(0, 3, 0, 0x10d38086);
        for (unsigned i = 4; i < extended_bytes; ++i) {
            d.bytes[i] = static_cast<std::uint8_t>(random());
            d.writable[i] = static_cast<std::uint8_t>(random());
        }
        machine.extended = n % 2 == 0;
        ASSERT_TRUE(read());
        for (const Bar& b : f.bar) {
            EXPECT_EQ(b.size & (b.size - 1), 0u);
            EXPECT_TRUE(b.size == 0 || b.base % b.size == 0);
        }
        EXPECT_LE(f.msix.entries, 2048u);
    }
}

}  // namespace
}  // namespace margay::pci
