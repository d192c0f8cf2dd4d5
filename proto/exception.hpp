// The processor's exceptions by name, for reports.
#pragma once
#include <cstdint>

namespace margay {

// In ThreadRegister::fault_vector of a thread that did not fault.
constexpr std::uint64_t no_fault = ~0ull;

// Of an exception's vector (AMD64 Architecture Programmer's Manual, volume 2, 8.2).
constexpr const char* exception_name(std::uint64_t vector) {
    constexpr const char* names[] = {"divide error",
                                     "debug",
                                     "NMI",
                                     "breakpoint",
                                     "overflow",
                                     "bound range",
                                     "invalid opcode",
                                     "device not available",
                                     "double fault",
                                     "vector 9",
                                     "invalid TSS",
                                     "segment not present",
                                     "stack fault",
                                     "general protection",
                                     "page fault",
                                     "vector 15",
                                     "x87 error",
                                     "alignment check",
                                     "machine check",
                                     "SIMD error"};
    return vector < sizeof(names) / sizeof(names[0]) ? names[vector] : "exception";
}

}  // namespace margay
