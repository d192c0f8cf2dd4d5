#include "ukernel/debug/console.hpp"

#include <atomic>

#include "ukernel/arch/x86_64/cpu.hpp"

namespace margay::console {

namespace {
std::uint16_t base = 0;
bool present = false;
std::atomic_flag locked;

std::uint16_t at(unsigned reg) { return static_cast<std::uint16_t>(base + reg); }
}  // namespace

void init(std::uint16_t port) {
    base = port;
    cpu::out8(at(1), 0);     // no interrupts
    cpu::out8(at(3), 0x80);  // divisor latch
    cpu::out8(base, 1);      // 115200
    cpu::out8(at(1), 0);
    cpu::out8(at(3), 0x03);  // 8n1
    cpu::out8(at(2), 0x01);  // FIFO on
    cpu::out8(at(4), 0x0b);  // DTR, RTS, OUT2
    cpu::out8(at(7), 0x5a);  // the scratch register tells whether there is a UART
    present = cpu::in8(at(7)) == 0x5a;
}

void put(char c) {
    if (!present) return;
    if (c == '\n') put('\r');
    for (unsigned i = 0; i < 100'000 && (cpu::in8(at(5)) & 0x20) == 0; ++i) cpu::pause();
    cpu::out8(base, static_cast<std::uint8_t>(c));
}

void lock() {
    // Bounded: a core that died while printing must not silence the others.
    for (unsigned i = 0; i < 10'000'000 && locked.test_and_set(std::memory_order_acquire); ++i)
        cpu::pause();
}

void unlock() { locked.clear(std::memory_order_release); }

}  // namespace margay::console
