// Guests for tests.
#pragma once
#include "tests/host_node/guest.hpp"

namespace margay::host_node {

// The local APIC's registers as MSRs.
inline constexpr std::uint32_t apic_base = 0x1b;
inline constexpr std::uint64_t x2apic = 0xfee0'0d00;

// Exits of every class that a well-behaved guest causes, several of each, with devices in between.
inline GuestScript every_class() {
    constexpr std::uint32_t io_apic = 0xfec0'0000;
    constexpr std::uint32_t end_of_interrupt = 0x80b, spurious = 0x80f, timer_vector = 0x832,
                            initial_count = 0x838, divide = 0x83e, self_ipi = 0x83f;
    GuestScript g;
    // The serial line, and the first words.
    g.out(0x3fb, 0x83).out(0x3f8, 1, 2).out(0x3fb, 3).out(0x3fa, 0x81).in(0x3fb).in(0x3fd);
    g.say("boot\n").say_string("by a string instruction\n");
    for (std::uint32_t leaf = 0; leaf < 5; ++leaf) g.cpuid(leaf);
    g.cpuid(0x4000'0000).cpuid(0x4000'0001).cpuid(0x8000'0008);
    g.hypercall(5).hypercall(~0ull);
    // MSRs that exist, and one that does not: #GP.
    g.read_msr(0x1b).read_msr(0xfe).write_msr(0x277, 0x0007'0406'0007'0406).read_msr(0x277);
    g.read_msr(0x1234).write_msr(0xc000'0080, 0x501).read_msr(0xc000'0080);
    g.write_msr(0x200, 0x8000'0006).read_msr(0x200);
    // The I/O APIC, by the emulator.
    for (std::uint32_t pin = 0; pin < 4; ++pin)
        g.mmio_write(io_apic, 0x10 + 2 * pin)
            .mmio_write(io_apic + 0x10, 0x1'0030 + pin)
            .mmio_read(io_apic + 0x10);
    g.mmio_write(io_apic, 1).mmio_read(io_apic + 0x10);
    g.write_cr8(3).read_cr8().write_cr8(0).read_cr8();
    g.cache_flush().rdpmc();
    // PCI, PIC, PIT, CMOS memory, PM timer's neighbour.
    g.out(0xcf8, 0x8000'0000, 4).in(0xcfc, 4).in(0xcfe, 2).out(0xcf8, 0x8000'0004, 4);
    g.out(0xcfc, 0x107, 2).in(0xcfc, 4);
    g.out(0x20, 0x11).out(0x21, 0x30).out(0x21, 4).out(0x21, 1).out(0x21, 0xff).in(0x21);
    g.out(0x43, 0x30).out(0x70, 0x40).out(0x71, 0x99).out(0x70, 0x40).in(0x71);
    g.out(0x602, 0x0101, 2).in(0x602, 2).in_string(0x3fd, 20);
    // Interrupts: the timer, and the processor to itself.
    g.say("interrupts\n")
        .write_msr(apic_base, x2apic)
        .write_msr(spurious, 0x1ff)
        .write_msr(divide, 0xb);
    for (std::uint64_t i = 0; i < 4; ++i) {
        g.write_msr(timer_vector, 0xe0 + i).write_msr(initial_count, 1000 + 500'000 * i);
        g.wait().write_msr(end_of_interrupt, 0).say(".");
    }
    g.write_msr(self_ipi, 0x51).wait().write_msr(end_of_interrupt, 0);
    g.say("\n").say_string("end ").say_sum().power_off();
    return g;
}

// Says numbered lines for a while, with a timer interrupt after each.
inline GuestScript counting(unsigned lines) {
    GuestScript g;
    g.out(0x3fb, 3)
        .out(0x3fa, 0x81)
        .write_msr(apic_base, x2apic)
        .write_msr(0x80f, 0x1ff)
        .write_msr(0x83e, 0xb);
    for (unsigned i = 0; i < lines; ++i) {
        g.write_msr(0x832, 0xe0 + i % 8).write_msr(0x838, 20'000 + 1000 * (i % 7));
        if (i % 3 == 0)
            g.say("line " + std::to_string(i) + "\n");
        else
            g.say_string("line " + std::to_string(i) + ", by one instruction\n");
        g.cpuid(i % 5).mmio_write(0xfec0'0000, 0x10 + 2 * (i % 8)).mmio_read(0xfec0'0010);
        g.wait().write_msr(0x80b, 0);
    }
    return g.say_sum().power_off(), g;
}

// Sends back what is typed, `count` bytes of it, each received by interrupt.
inline GuestScript echo(unsigned count) {
    GuestScript g;
    g.out(0x3fb, 3)
        .out(0x3fa, 0x01)
        .out(0x3fc, 0x0b)
        .write_msr(apic_base, x2apic)
        .write_msr(0x80f, 0x1ff);
    // Line 4, edge, to this processor, vector 0x41.
    g.mmio_write(0xfec0'0000, 0x19).mmio_write(0xfec0'0010, 0);
    g.mmio_write(0xfec0'0000, 0x18).mmio_write(0xfec0'0010, 0x41).out(0x3f9, 1);
    for (unsigned i = 0; i < count; ++i)
        g.say("> ").wait().in(0x3fa).in(0x3f8).echo_last().write_msr(0x80b, 0);
    return g.say("\n").say_sum().power_off(), g;
}

}  // namespace margay::host_node
