// Single processor instructions and control registers.
#pragma once
#include <cstdint>

namespace margay::cpu {

namespace msr {
constexpr std::uint32_t apic_base = 0x1b;
constexpr std::uint32_t efer = 0xc0000080;
constexpr std::uint32_t star = 0xc0000081;
constexpr std::uint32_t lstar = 0xc0000082;
constexpr std::uint32_t cstar = 0xc0000083;
constexpr std::uint32_t sfmask = 0xc0000084;
constexpr std::uint32_t fs_base = 0xc0000100;
constexpr std::uint32_t gs_base = 0xc0000101;
constexpr std::uint32_t kernel_gs_base = 0xc0000102;
constexpr std::uint32_t vm_cr = 0xc0010114;
constexpr std::uint32_t vm_hsave_pa = 0xc0010117;
}  // namespace msr

namespace efer {
constexpr std::uint64_t sce = 1;
constexpr std::uint64_t lme = 1 << 8;
constexpr std::uint64_t lma = 1 << 10;
constexpr std::uint64_t nxe = 1 << 11;
constexpr std::uint64_t svme = 1 << 12;
}  // namespace efer

namespace cr4 {
constexpr std::uint64_t pge = 1 << 7;
constexpr std::uint64_t osfxsr = 1 << 9;
constexpr std::uint64_t umip = 1 << 11;
constexpr std::uint64_t smep = 1 << 20;
constexpr std::uint64_t smap = 1 << 21;
}  // namespace cr4

struct CpuidResult {
    std::uint32_t eax, ebx, ecx, edx;
};
inline CpuidResult cpuid(std::uint32_t leaf, std::uint32_t subleaf = 0) {
    CpuidResult r;
    asm volatile("cpuid"
                 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                 : "a"(leaf), "c"(subleaf));
    return r;
}
inline std::uint64_t read_msr(std::uint32_t index) {
    std::uint32_t low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
    return low | static_cast<std::uint64_t>(high) << 32;
}
inline void write_msr(std::uint32_t index, std::uint64_t value) {
    asm volatile("wrmsr"
                 :
                 : "c"(index), "a"(static_cast<std::uint32_t>(value)),
                   "d"(static_cast<std::uint32_t>(value >> 32))
                 : "memory");
}
inline std::uint64_t rdtsc() {
    std::uint32_t low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return low | static_cast<std::uint64_t>(high) << 32;
}
inline std::uint64_t read_cr0() { std::uint64_t v; asm volatile("mov %%cr0, %0" : "=r"(v)); return v; }
inline std::uint64_t read_cr2() { std::uint64_t v; asm volatile("mov %%cr2, %0" : "=r"(v)); return v; }
inline std::uint64_t read_cr3() { std::uint64_t v; asm volatile("mov %%cr3, %0" : "=r"(v)); return v; }
inline std::uint64_t read_cr4() { std::uint64_t v; asm volatile("mov %%cr4, %0" : "=r"(v)); return v; }
inline void write_cr0(std::uint64_t v) { asm volatile("mov %0, %%cr0" : : "r"(v) : "memory"); }
inline void write_cr3(std::uint64_t v) { asm volatile("mov %0, %%cr3" : : "r"(v) : "memory"); }
inline void write_cr4(std::uint64_t v) { asm volatile("mov %0, %%cr4" : : "r"(v) : "memory"); }
inline void pause() { asm volatile("pause"); }
// One chance for pending interrupts, at a point where their handlers may change anything.
inline void take_interrupts() { asm volatile("sti; nop; cli" : : : "memory"); }
inline void wait_for_interrupt() { asm volatile("sti; hlt; cli" : : : "memory"); }
[[noreturn]] inline void halt_forever() {
    for (;;) asm volatile("cli; hlt");
}

inline void out8(std::uint16_t port, std::uint8_t v) { asm volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
inline void out16(std::uint16_t port, std::uint16_t v) { asm volatile("outw %0, %1" : : "a"(v), "Nd"(port)); }
inline void out32(std::uint16_t port, std::uint32_t v) { asm volatile("outl %0, %1" : : "a"(v), "Nd"(port)); }
inline std::uint8_t in8(std::uint16_t port) { std::uint8_t v; asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port)); return v; }
inline std::uint16_t in16(std::uint16_t port) { std::uint16_t v; asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port)); return v; }
inline std::uint32_t in32(std::uint16_t port) { std::uint32_t v; asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port)); return v; }

}  // namespace margay::cpu
