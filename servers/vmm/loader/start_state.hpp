#pragma once

#include <cstdint>

namespace margay::vmm {

/// Register values for a vCPU that starts in protected mode without paging, or in 64-bit mode if EFER.LMA is set. Not
/// named here: all other general registers 0, RFLAGS 2 (interrupts off), code segment 64-bit (attributes 0xa9b) or
/// 32-bit (0xc9b), data segments flat (0xc93), LDT null, task register a busy TSS (0x8b), IDT limit 0.
struct StartState {
    std::uint64_t rip;
    std::uint64_t rax;
    std::uint64_t rbx;
    std::uint64_t rsp;
    std::uint64_t rsi;  ///< Linux: boot parameters
    std::uint64_t cr0;
    std::uint64_t cr3;
    std::uint64_t cr4;
    std::uint64_t efer;  ///< without SVME
    std::uint64_t gdt_base;
    std::uint16_t gdt_limit;
    std::uint16_t code_selector;
    std::uint16_t data_selector;
    std::uint16_t task_selector;
    std::uint64_t kernel_base;  ///< where the kernel was put, for messages
    std::uint64_t initrd_base;  ///< 0: none
};

}  // namespace margay::vmm
