// The 8259 pair, which Margay does not use: interrupts come by the I/O APICs. Firmware may leave it
// open, and its output reaches a processor by LINT0 or past it.
#pragma once
#include "ukernel/arch/x86_64/instructions.hpp"

namespace margay::pic {

// No exception's, no I/O APIC's: what arrives there is counted and has no other effect. A line that goes
// away before it is acknowledged raises one (IRQ 7, 15) even when all are masked.
constexpr unsigned first_vector = 32;

// Once, before interrupts are on.
inline void disable() {
    constexpr std::uint16_t first = 0x20, second = 0xa0;
    constexpr std::uint8_t edge_cascade_icw4 = 0x11, mode_8086 = 0x01, all = 0xff;
    cpu::out8(first, edge_cascade_icw4);
    cpu::out8(second, edge_cascade_icw4);
    cpu::out8(first + 1, first_vector);
    cpu::out8(second + 1, first_vector + 8);
    cpu::out8(first + 1, 1 << 2);  // the second one is at its line 2
    cpu::out8(second + 1, 2);
    cpu::out8(first + 1, mode_8086);
    cpu::out8(second + 1, mode_8086);
    cpu::out8(first + 1, all);
    cpu::out8(second + 1, all);
}

}  // namespace margay::pic
