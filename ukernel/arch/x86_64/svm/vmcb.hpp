// The virtual machine control block (AMD APM vol. 2 appendix B).
#pragma once
#include <cstddef>
#include <cstdint>

#include "proto/vcpu_state.hpp"

namespace margay {

struct Vmcb {
    // Control area.
    std::uint16_t cr_read, cr_write;       // 0x000
    std::uint16_t dr_read, dr_write;       // 0x004
    std::uint32_t exceptions;              // 0x008
    std::uint32_t intercept1, intercept2;  // 0x00c
    std::uint32_t intercept3;              // 0x014
    std::uint8_t reserved1[0x03c - 0x018];
    std::uint16_t pause_threshold, pause_count;  // 0x03c
    std::uint64_t io_bitmap, msr_bitmap;         // 0x040
    std::uint64_t tsc_offset;                    // 0x050
    std::uint32_t asid;                          // 0x058
    std::uint32_t tlb_control;
    std::uint64_t virtual_interrupt;       // 0x060
    std::uint64_t interrupt_shadow;        // 0x068
    std::uint64_t exit_code;               // 0x070
    std::uint64_t exit_info1, exit_info2;  // 0x078
    std::uint64_t exit_int_info;           // 0x088
    std::uint64_t nested_control;          // 0x090
    std::uint8_t reserved2[0x0a8 - 0x098];
    std::uint64_t event_injection;        // 0x0a8
    std::uint64_t nested_cr3;             // 0x0b0
    std::uint64_t lbr_control;            // 0x0b8
    std::uint32_t clean_bits, reserved3;  // 0x0c0
    std::uint64_t next_rip;               // 0x0c8
    std::uint8_t fetched_length;          // 0x0d0
    std::uint8_t fetched[15];
    std::uint8_t reserved4[0x400 - 0x0e0];
    // State save area.
    SegmentState es, cs, ss, ds, fs, gs;  // 0x400
    SegmentState gdtr, ldtr, idtr, tr;    // 0x460
    std::uint8_t reserved5[0x4cb - 0x4a0];
    std::uint8_t cpl;  // 0x4cb
    std::uint8_t reserved6[4];
    std::uint64_t efer;  // 0x4d0
    std::uint8_t reserved7[0x548 - 0x4d8];
    std::uint64_t cr4, cr3, cr0;  // 0x548
    std::uint64_t dr7, dr6;       // 0x560
    std::uint64_t rflags, rip;    // 0x570
    std::uint8_t reserved8[0x5d8 - 0x580];
    std::uint64_t rsp;  // 0x5d8
    std::uint8_t reserved9[0x5f8 - 0x5e0];
    std::uint64_t rax;                                         // 0x5f8
    std::uint64_t star, lstar, cstar, sfmask, kernel_gs_base;  // 0x600
    std::uint64_t sysenter_cs, sysenter_esp, sysenter_eip;     // 0x628
    std::uint64_t cr2;                                         // 0x640
    std::uint8_t reserved10[0x668 - 0x648];
    std::uint64_t g_pat;  // 0x668
    std::uint8_t reserved11[0x1000 - 0x670];
};
static_assert(sizeof(Vmcb) == 4096);
static_assert(offsetof(Vmcb, virtual_interrupt) == 0x060);
static_assert(offsetof(Vmcb, event_injection) == 0x0a8);
static_assert(offsetof(Vmcb, fetched_length) == 0x0d0);
static_assert(offsetof(Vmcb, es) == 0x400);
static_assert(offsetof(Vmcb, gdtr) == 0x460);
static_assert(offsetof(Vmcb, cpl) == 0x4cb);
static_assert(offsetof(Vmcb, efer) == 0x4d0);
static_assert(offsetof(Vmcb, cr4) == 0x548);
static_assert(offsetof(Vmcb, rflags) == 0x570);
static_assert(offsetof(Vmcb, rsp) == 0x5d8);
static_assert(offsetof(Vmcb, rax) == 0x5f8);
static_assert(offsetof(Vmcb, cr2) == 0x640);
static_assert(offsetof(Vmcb, g_pat) == 0x668);

namespace vmcb {
// intercept1 (offset 0x00c)
constexpr std::uint32_t intr = 1u << 0;
constexpr std::uint32_t nmi = 1u << 1;
constexpr std::uint32_t smi = 1u << 2;
constexpr std::uint32_t init = 1u << 3;
constexpr std::uint32_t vintr = 1u << 4;
constexpr std::uint32_t rdtsc = 1u << 14;
constexpr std::uint32_t rdpmc = 1u << 15;
constexpr std::uint32_t pushf = 1u << 16;
constexpr std::uint32_t popf = 1u << 17;
constexpr std::uint32_t cpuid = 1u << 18;
constexpr std::uint32_t iret = 1u << 20;
constexpr std::uint32_t software_interrupt = 1u << 21;
constexpr std::uint32_t invd = 1u << 22;
constexpr std::uint32_t pause = 1u << 23;
constexpr std::uint32_t hlt = 1u << 24;
constexpr std::uint32_t invlpg = 1u << 25;
constexpr std::uint32_t invlpga = 1u << 26;
constexpr std::uint32_t io = 1u << 27;
constexpr std::uint32_t msr = 1u << 28;
constexpr std::uint32_t task_switch = 1u << 29;
constexpr std::uint32_t ferr_freeze = 1u << 30;
constexpr std::uint32_t shutdown = 1u << 31;
// intercept2 (offset 0x010)
constexpr std::uint32_t vmrun = 1u << 0;
constexpr std::uint32_t vmmcall = 1u << 1;
constexpr std::uint32_t vmload = 1u << 2;
constexpr std::uint32_t vmsave = 1u << 3;
constexpr std::uint32_t stgi = 1u << 4;
constexpr std::uint32_t clgi = 1u << 5;
constexpr std::uint32_t skinit = 1u << 6;
constexpr std::uint32_t wbinvd = 1u << 9;
constexpr std::uint32_t monitor = 1u << 10;
constexpr std::uint32_t mwait = 1u << 11;
constexpr std::uint32_t mwait_armed = 1u << 12;
constexpr std::uint32_t xsetbv = 1u << 13;
constexpr std::uint32_t icebp = 1u << 14;
// virtual_interrupt
constexpr std::uint64_t v_tpr = 0xff;
constexpr std::uint64_t v_irq = 1ull << 8;
constexpr unsigned v_priority_shift = 16;
constexpr std::uint64_t v_ignore_tpr = 1ull << 20;
constexpr std::uint64_t v_masking = 1ull << 24;
constexpr unsigned v_vector_shift = 32;
// tlb_control
constexpr std::uint32_t flush_all = 1;
// exit codes
enum Exit : std::uint64_t {
    cr_read_0 = 0x000,
    cr_write_0 = 0x010,
    dr_read_0 = 0x020,
    dr_write_0 = 0x030,
    exception_0 = 0x040,
    exception_db = 0x041,
    exception_ac = 0x051,
    exception_mc = 0x052,
    exception_31 = 0x05f,
    exit_intr = 0x060,
    exit_nmi = 0x061,
    exit_smi = 0x062,
    exit_init = 0x063,
    exit_vintr = 0x064,
    exit_rdtsc = 0x06e,
    exit_rdpmc = 0x06f,
    exit_pushf = 0x070,
    exit_popf = 0x071,
    exit_cpuid = 0x072,
    exit_iret = 0x074,
    exit_software_interrupt = 0x075,
    exit_invd = 0x076,
    exit_pause = 0x077,
    exit_hlt = 0x078,
    exit_invlpg = 0x079,
    exit_invlpga = 0x07a,
    exit_io = 0x07b,
    exit_msr = 0x07c,
    exit_task_switch = 0x07d,
    exit_ferr_freeze = 0x07e,
    exit_shutdown = 0x07f,
    exit_vmrun = 0x080,
    exit_vmmcall = 0x081,
    exit_vmload = 0x082,
    exit_vmsave = 0x083,
    exit_stgi = 0x084,
    exit_clgi = 0x085,
    exit_skinit = 0x086,
    exit_rdtscp = 0x087,
    exit_icebp = 0x088,
    exit_wbinvd = 0x089,
    exit_monitor = 0x08a,
    exit_mwait = 0x08b,
    exit_mwait_armed = 0x08c,
    exit_xsetbv = 0x08d,
    exit_npf = 0x400,
};
// exit_int_info, event_injection
constexpr std::uint64_t event_valid = 1ull << 31;
constexpr std::uint64_t event_type = 7ull << 8;
constexpr std::uint64_t event_type_intr = 0ull << 8;
}  // namespace vmcb

}  // namespace margay
