// GDT, TSS and IDT of one core (AMD APM vol. 2 §4.6 - §4.8, §12.2).
#pragma once
#include <cstdint>

namespace margay {

struct Core;

struct __attribute__((packed)) TaskState {
    std::uint32_t reserved0;
    std::uint64_t rsp[3];
    std::uint64_t reserved1;
    std::uint64_t ist[7];
    std::uint64_t reserved2;
    std::uint16_t reserved3;
    std::uint16_t io_map_base;
};
static_assert(sizeof(TaskState) == 104);

// Per core, in memory from the boot allocator.
struct Descriptors {
    std::uint64_t gdt[7];
    TaskState tss;
};

// Loads GDT, TSS, IDT and the system call registers on the core this runs on.
// ist_stacks: three stack tops, for NMI, double fault and machine check.
void load_descriptors(Descriptors& d, Core& core, const std::uint64_t ist_stacks[3]);

}  // namespace margay
