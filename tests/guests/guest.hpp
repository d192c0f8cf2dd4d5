// What test guests share: 64-bit code without an operating system, on the VMM's device models.
#pragma once
#include <cstdint>

#include "support/format.hpp"

namespace margay::guest {

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
inline std::uint32_t in32(std::uint16_t port) {
    std::uint32_t v;
    asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
inline std::uint64_t read_msr(std::uint32_t index) {
    std::uint32_t low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
    return low | static_cast<std::uint64_t>(high) << 32;
}
inline void write_msr(std::uint32_t index, std::uint64_t v) {
    asm volatile("wrmsr"
                 :
                 : "c"(index), "a"(static_cast<std::uint32_t>(v)),
                   "d"(static_cast<std::uint32_t>(v >> 32)));
}
// The local APIC's registers as MSRs: x2APIC mode (AMD APM vol. 2 §16.9).
inline void switch_to_x2apic() {
    constexpr std::uint32_t apic_base = 0x1b;
    write_msr(apic_base, read_msr(apic_base) | 0xc00);
}
inline std::uint64_t rdtsc() {
    std::uint32_t low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return low | static_cast<std::uint64_t>(high) << 32;
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

inline void put(char c) {
    while ((in8(0x3fd) & 0x20) == 0) {}
    out8(0x3f8, static_cast<std::uint8_t>(c));
}
template <typename... Arguments>
void say(std::string_view format, const Arguments&... arguments) {
    print([](char c) { put(c); }, format, arguments...);
}

// What the manifest's `append` says.
inline std::string_view command_line_of(const void* boot_parameters) {
    constexpr unsigned command_line_pointer = 0x228;  // of the boot protocol
    std::uint32_t at;
    __builtin_memcpy(&at, static_cast<const char*>(boot_parameters) + command_line_pointer,
                     sizeof(at));
    return at != 0 ? reinterpret_cast<const char*>(std::uint64_t{at}) : "";
}

// ACPI soft-off: PM1a control, sleep type of S5 and the enable bit (servers/vmm/acpi/dsdt.asl).
[[noreturn]] inline void power_off() {
    out16(0x604, 5 << 10 | 1 << 13);
    for (;;) asm volatile("hlt");
}

}  // namespace margay::guest

extern "C" [[noreturn]] void guest_main(void* boot_parameters);
