// A test guest's second vCPU (Intel SDM vol. 3 §9.4.3). The first one is in x2APIC mode, the second begins in xAPIC mode.
#pragma once
#include <cstdint>
#include <cstring>

#include "tests/guests/guest.hpp"

extern "C" {
extern const std::byte second_cpu_code[], second_cpu_code_end[], second_cpu_cr3[],
    second_cpu_table_base[];
// What its first code goes on with.
inline void* second_cpu_stack;
inline void (*second_cpu_entry)();
}

namespace margay::guest {

constexpr std::uint32_t x2apic_icr = 0x830;

// `stack`: its end. entry: never returns.
inline void start_second_cpu(void* stack, void (*entry)()) {
    constexpr std::uint32_t page = 0x9000;  // below 640 KiB, and nothing of the loader's
    constexpr std::uint64_t to_second = 1ull << 32, init = 0xc500, startup = 0x600;
    auto* const code = reinterpret_cast<std::byte*>(std::uint64_t{page});
    std::memcpy(code, second_cpu_code,
                static_cast<std::size_t>(second_cpu_code_end - second_cpu_code));
    const auto patch = [&](const std::byte* at, std::uint32_t add) {
        std::byte* const to = code + (at - second_cpu_code);
        std::uint32_t v;
        std::memcpy(&v, to, sizeof(v));
        v += add;
        std::memcpy(to, &v, sizeof(v));
    };
    std::uint64_t cr3;
    asm volatile("mov %%cr3, %0" : "=r"(cr3));
    patch(second_cpu_cr3, static_cast<std::uint32_t>(cr3));
    patch(second_cpu_table_base, page);
    second_cpu_stack = stack;
    second_cpu_entry = entry;
    asm volatile("" : : : "memory");
    write_msr(x2apic_icr, to_second | init);
    write_msr(x2apic_icr, to_second | startup | page >> 12);
}

}  // namespace margay::guest
