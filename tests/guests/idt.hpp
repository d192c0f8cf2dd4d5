// The interrupt descriptor table of a test guest (AMD APM vol. 2 §8.8.2): empty at first.
#pragma once
#include <cstdint>

namespace margay::guest {

struct [[gnu::packed]] TablePointer {
    std::uint16_t limit;
    std::uint64_t base;
};

struct Gate {
    std::uint64_t low, high;
};
inline Gate idt[256];

// An interrupt gate; the handler ends with IRETQ. The loader's code segment is 0x10.
inline void set_gate(unsigned vector, void (*handler)()) {
    const auto a = reinterpret_cast<std::uint64_t>(handler);
    idt[vector] = {(a & 0xffff) | 0x10ull << 16 | 0x8eull << 40 | (a >> 16 & 0xffff) << 48,
                   a >> 32};
}

inline void load_idt() {
    const TablePointer p{sizeof(idt) - 1, reinterpret_cast<std::uint64_t>(idt)};
    asm volatile("lidt %0" : : "m"(p));
}

}  // namespace margay::guest
