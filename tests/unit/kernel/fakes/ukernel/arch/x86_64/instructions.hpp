// In the place of the kernel's header of this name: the instructions of the simulated machine.
#pragma once
#include <cstdint>

namespace margay {
struct Core;
}

namespace margay::cpu {

Core* this_core();

struct CpuidResult {
    std::uint32_t eax, ebx, ecx, edx;
};
CpuidResult cpuid(std::uint32_t leaf, std::uint32_t subleaf = 0);
std::uint64_t read_msr(std::uint32_t index);
void write_msr(std::uint32_t index, std::uint64_t value);
std::uint64_t rdtsc();
// A number `offset` bytes behind the object's beginning.
void change(void* object, std::uint64_t offset, std::uint64_t by);
template <unsigned counts, unsigned ticks, typename T>
void count_and_take_tsc(void* object, std::uint64_t index, std::uint32_t&, T&) {
    change(object, counts + 8 * index, 1);
    change(object, ticks + 8 * index, -rdtsc());
}
template <unsigned ticks, typename T>
void add_tsc(void* object, std::uint64_t index, std::uint32_t&, T&) {
    change(object, ticks + 8 * index, rdtsc());
}
std::uint64_t read_cr0();
std::uint64_t read_cr2();
std::uint64_t read_cr3();
std::uint64_t read_cr4();
void write_cr0(std::uint64_t value);
void write_cr3(std::uint64_t value);
void write_cr4(std::uint64_t value);
void clear_x87_pointers();
void fxsave(std::uint8_t* image);
void fxrstor(const std::uint8_t* image);
void xsave(std::uint8_t* area, std::uint64_t parts);
void xrstor(const std::uint8_t* area, std::uint64_t parts);
std::uint64_t read_xcr0();
void write_xcr0(std::uint64_t value);
void read_debug_addresses(std::uint64_t (&dr)[4]);
void write_debug_addresses(const std::uint64_t (&dr)[4]);
void invalidate_all_pcids();
void pause();
void take_interrupts();
// Throws machine::Idle: nothing is left to run.
void wait_for_interrupt();
[[noreturn]] void halt_forever();
void out8(std::uint16_t port, std::uint8_t value);
void out16(std::uint16_t port, std::uint16_t value);
void out32(std::uint16_t port, std::uint32_t value);
std::uint8_t in8(std::uint16_t port);
std::uint16_t in16(std::uint16_t port);
std::uint32_t in32(std::uint16_t port);

}  // namespace margay::cpu
