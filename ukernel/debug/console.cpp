#include "ukernel/debug/console.hpp"

#include <atomic>

#include "ukernel/arch/x86_64/cpu.hpp"

namespace margay::console {

namespace {
constexpr std::uint16_t com1 = 0x3f8;
bool present = false;
std::atomic_flag locked;
}  // namespace

void init() {
    cpu::out8(com1 + 1, 0);     // no interrupts
    cpu::out8(com1 + 3, 0x80);  // divisor latch
    cpu::out8(com1 + 0, 1);     // 115200
    cpu::out8(com1 + 1, 0);
    cpu::out8(com1 + 3, 0x03);  // 8n1
    cpu::out8(com1 + 2, 0x01);  // FIFO on
    cpu::out8(com1 + 4, 0x0b);  // DTR, RTS, OUT2
    cpu::out8(com1 + 7, 0x5a);  // the scratch register tells whether there is a UART
    present = cpu::in8(com1 + 7) == 0x5a;
}

void put(char c) {
    if (!present) return;
    if (c == '\n') put('\r');
    for (unsigned i = 0; i < 100'000 && (cpu::in8(com1 + 5) & 0x20) == 0; ++i) cpu::pause();
    cpu::out8(com1, static_cast<std::uint8_t>(c));
}

void lock() {
    // Bounded: a core that died while printing must not silence the others.
    for (unsigned i = 0; i < 10'000'000 && locked.test_and_set(std::memory_order_acquire); ++i)
        cpu::pause();
}

void unlock() { locked.clear(std::memory_order_release); }

}  // namespace margay::console
