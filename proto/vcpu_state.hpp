// The state page of a vCPU: 4 KiB of RAM shared by the kernel and whoever handles exits.
// The kernel trusts nothing it reads here: every field is checked or masked when it is loaded.
#pragma once
#include <cstddef>
#include <cstdint>

#include "proto/exit.hpp"
#include "proto/kernel.hpp"

namespace margay {

struct SegmentState {
    std::uint16_t selector;
    std::uint16_t attributes;  // VMCB format (AMD APM vol. 2 §15.5): type, S, DPL, P, AVL, L, D, G
    std::uint32_t limit;
    std::uint64_t base;
};

enum GprIndex : unsigned {
    gpr_rax,
    gpr_rcx,
    gpr_rdx,
    gpr_rbx,
    gpr_rsp,
    gpr_rbp,
    gpr_rsi,
    gpr_rdi,
    gpr_r8,
    gpr_r9,
    gpr_r10,
    gpr_r11,
    gpr_r12,
    gpr_r13,
    gpr_r14,
    gpr_r15
};

// What the guest may do without an exit. The kernel adds what it needs itself.
struct InterceptState {
    std::uint32_t exceptions;         // bit n: vector n
    std::uint16_t cr_read, cr_write;  // bit n: CRn
    std::uint32_t flags;              // intercept_flag
    std::uint32_t reserved;
};
namespace intercept_flag {
constexpr std::uint32_t pause = 1;
constexpr std::uint32_t interrupt_window = 2;
constexpr std::uint32_t rdtsc = 4;
constexpr std::uint32_t invlpg = 8;
}  // namespace intercept_flag

// One line of the flight recorder: the last 32 exits, written by the kernel.
struct ExitRecord {
    std::uint64_t sequence_class;  // sequence << 8 | ExitClass
    std::uint64_t rip;
    std::uint64_t detail0;
    std::uint64_t detail1;
};
constexpr unsigned exit_records = 32;

struct VcpuState {
    std::uint64_t gpr[16];
    std::uint64_t rip;
    std::uint64_t rflags;
    SegmentState es, cs, ss, ds, fs, gs;
    SegmentState tr, ldtr, gdtr, idtr;  // gdtr, idtr: base and limit only
    std::uint64_t cr0, cr2, cr3, cr4, efer;
    std::uint64_t dr6, dr7;
    std::uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
    std::uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    std::uint64_t pat;
    std::uint64_t event;  // EVENTINJ format (AMD APM vol. 2 §15.20); no external interrupts
    InterceptState intercepts;
    std::uint64_t tsc_offset;
    std::uint64_t shadow;              // bit 0: interrupt shadow
    std::uint64_t instruction_length;  // 0: the processor gave no bytes
    std::uint8_t instruction[16];
    std::uint64_t reserved0[2];
    // Vector registers, in an order that no processor's XSAVE area decides (AMD APM vol. 2 §11.5): what the node's
    // processor lacks is 0, and is not loaded.
    std::uint8_t fpu[512];         // FXSAVE image (§11.4.4); reserved MXCSR bits are cleared
    std::uint8_t ymm_high[256];    // upper halves of YMM0 to YMM15
    std::uint8_t opmask[64];       // k0 to k7
    std::uint8_t zmm_high[512];    // upper halves of ZMM0 to ZMM15
    std::uint8_t zmm_upper[1024];  // ZMM16 to ZMM31
    std::uint8_t pkru[8];          // in the lower four bytes
    std::uint64_t xcr0;
    std::uint64_t dr[4];    // DR0 to DR3
    std::uint64_t tsc_aux;  // 32 bits
    std::uint8_t reserved1[136];
    ExitRecord records[exit_records];  // index = sequence % exit_records
};
static_assert(sizeof(SegmentState) == 16);
static_assert(offsetof(VcpuState, es) == 144);
static_assert(offsetof(VcpuState, cr0) == 304);
static_assert(offsetof(VcpuState, event) == 432);
static_assert(offsetof(VcpuState, fpu) == 512);
static_assert(offsetof(VcpuState, records) == 3072);
static_assert(sizeof(VcpuState) == page_size);

// Bits of XCR0 (AMD APM vol. 2 §11.5.2).
namespace xcr0 {
constexpr std::uint64_t x87 = 1 << 0;
constexpr std::uint64_t sse = 1 << 1;
constexpr std::uint64_t avx = 1 << 2;
constexpr std::uint64_t pkru = 1 << 9;
constexpr std::uint64_t avx512 = 7 << 5;

// What XSETBV accepts on a processor that has `supported`, and the kernel in a reply.
constexpr bool is_valid(std::uint64_t value, std::uint64_t supported) {
    if ((value & x87) == 0 || (value & ~supported) != 0) return false;
    if ((value & avx) != 0 && (value & sse) == 0) return false;
    const std::uint64_t wide = value & avx512;
    return wide == 0 || (wide == avx512 && (value & avx) != 0);
}
}  // namespace xcr0

namespace event_injection {
constexpr std::uint64_t valid = 1ull << 31;
constexpr std::uint64_t has_error = 1ull << 11;
constexpr std::uint64_t type_nmi = 2ull << 8;
constexpr std::uint64_t type_exception = 3ull << 8;
constexpr std::uint64_t type_software = 4ull << 8;  // INT n that an exit interrupted
constexpr unsigned error_shift = 32;
}  // namespace event_injection

}  // namespace margay
