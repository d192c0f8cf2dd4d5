// Single processor instructions that only a kernel may execute, or whose results differ from machine
// to machine. Host tests put functions of their own in the place of this file.
#pragma once
#include <cstdint>

namespace margay {
struct Core;
}

namespace margay::cpu {

// The core that this code runs on: GS points to its data, which begin with their own address.
inline Core* this_core() {
    Core* c;
    asm("mov %%gs:0, %0" : "=r"(c));
    return c;
}

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
// Numbers of 64 bits in arrays within an object, the arrays `counts` and `ticks` bytes behind its beginning. Counts number `index`
// of the first up and takes the time-stamp counter off that of the second; or adds it to that. Without joining the halves of the
// counter, the lower half of a number changes first. What is stored at `first` is stored before; `all` covers the arrays.
template <unsigned counts, unsigned ticks, typename T>
[[gnu::always_inline]] inline void count_and_take_tsc(void* object, std::uint64_t index,
                                                      std::uint32_t& first, T& all) {
    asm volatile(
        "incq %c[counts](%[object],%[index],8)\n\t"
        "rdtsc\n\t"
        "sub %%eax, %c[ticks](%[object],%[index],8)\n\t"
        "sbb %%edx, %c[ticks]+4(%[object],%[index],8)"
        : "+m"(first), "+m"(all)
        : [object] "r"(object), [index] "r"(index), [counts] "i"(counts), [ticks] "i"(ticks)
        : "eax", "edx", "cc");
}
template <unsigned ticks, typename T>
[[gnu::always_inline]] inline void add_tsc(void* object, std::uint64_t index, std::uint32_t& first,
                                           T& all) {
    asm volatile("rdtsc\n\t"
                 "add %%eax, %c[ticks](%[object],%[index],8)\n\t"
                 "adc %%edx, %c[ticks]+4(%[object],%[index],8)"
                 : "+m"(first), "+m"(all)
                 : [object] "r"(object), [index] "r"(index), [ticks] "i"(ticks)
                 : "eax", "edx", "cc");
}
inline std::uint64_t read_cr0() {
    std::uint64_t v;
    asm volatile("mov %%cr0, %0" : "=r"(v));
    return v;
}
inline std::uint64_t read_cr2() {
    std::uint64_t v;
    asm volatile("mov %%cr2, %0" : "=r"(v));
    return v;
}
inline std::uint64_t read_cr3() {
    std::uint64_t v;
    asm volatile("mov %%cr3, %0" : "=r"(v));
    return v;
}
inline std::uint64_t read_cr4() {
    std::uint64_t v;
    asm volatile("mov %%cr4, %0" : "=r"(v));
    return v;
}
inline void write_cr0(std::uint64_t v) { asm volatile("mov %0, %%cr0" : : "r"(v) : "memory"); }
inline void write_cr3(std::uint64_t v) { asm volatile("mov %0, %%cr3" : : "r"(v) : "memory"); }
inline void write_cr4(std::uint64_t v) { asm volatile("mov %0, %%cr4" : : "r"(v) : "memory"); }
// 512 bytes, aligned by 16.
inline void fxsave(std::uint8_t* image) { asm volatile("fxsave64 (%0)" : : "r"(image) : "memory"); }
inline void fxrstor(const std::uint8_t* image) {
    asm volatile("fxrstor64 (%0)" : : "r"(image) : "memory");
}
// Areas of XSAVE in standard form, aligned by 64. CR4.OSXSAVE must be set.
inline void xsave(std::uint8_t* area, std::uint64_t parts) {
    asm volatile("xsave64 (%0)"
                 :
                 : "r"(area), "a"(static_cast<std::uint32_t>(parts)),
                   "d"(static_cast<std::uint32_t>(parts >> 32))
                 : "memory");
}
inline void xrstor(const std::uint8_t* area, std::uint64_t parts) {
    asm volatile("xrstor64 (%0)"
                 :
                 : "r"(area), "a"(static_cast<std::uint32_t>(parts)),
                   "d"(static_cast<std::uint32_t>(parts >> 32))
                 : "memory");
}
inline std::uint64_t read_xcr0() {
    std::uint32_t low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low | static_cast<std::uint64_t>(high) << 32;
}
inline void write_xcr0(std::uint64_t v) {
    asm volatile("xsetbv"
                 :
                 : "c"(0), "a"(static_cast<std::uint32_t>(v)),
                   "d"(static_cast<std::uint32_t>(v >> 32))
                 : "memory");
}
// DR0 to DR3.
inline void read_debug_addresses(std::uint64_t (&dr)[4]) {
    asm volatile("mov %%db0, %0\n\tmov %%db1, %1\n\tmov %%db2, %2\n\tmov %%db3, %3"
                 : "=r"(dr[0]), "=r"(dr[1]), "=r"(dr[2]), "=r"(dr[3]));
}
inline void write_debug_addresses(const std::uint64_t (&dr)[4]) {
    asm volatile("mov %0, %%db0\n\tmov %1, %%db1\n\tmov %2, %%db2\n\tmov %3, %%db3"
                 :
                 : "r"(dr[0]), "r"(dr[1]), "r"(dr[2]), "r"(dr[3]));
}
// Drops all translations that are not global, of every process-context identifier.
inline void invalidate_all_pcids() {
    const std::uint64_t descriptor[2] = {};
    asm volatile("invpcid %0, %1" : : "m"(descriptor), "r"(3ull) : "memory");
}
// The addresses of the last x87 instruction become the kernel's own, whatever the state before.
inline void clear_x87_pointers() {
    const std::uint32_t zero = 0;
    asm volatile("fnclex\n\temms\n\tfildl %0" : : "m"(zero));
}
inline void pause() { asm volatile("pause"); }
// One chance for pending interrupts, at a point where their handlers may change anything.
inline void take_interrupts() { asm volatile("sti; nop; cli" : : : "memory"); }
inline void wait_for_interrupt() { asm volatile("sti; hlt; cli" : : : "memory"); }
[[noreturn]] inline void halt_forever() {
    for (;;) asm volatile("cli; hlt");
}

inline void out8(std::uint16_t port, std::uint8_t v) {
    asm volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}
inline void out16(std::uint16_t port, std::uint16_t v) {
    asm volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}
inline void out32(std::uint16_t port, std::uint32_t v) {
    asm volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}
inline std::uint8_t in8(std::uint16_t port) {
    std::uint8_t v;
    asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
inline std::uint16_t in16(std::uint16_t port) {
    std::uint16_t v;
    asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
inline std::uint32_t in32(std::uint16_t port) {
    std::uint32_t v;
    asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

}  // namespace margay::cpu
