// VM exits as messages: classes, message and reply layout, state groups.
#pragma once
#include <cstdint>

namespace margay {

enum class ExitClass : std::uint8_t {
    startup = 0,  // the vCPU runs for the first time: the handler sets all state
    recall,    // an Event bound to the vCPU was signalled: detail 0 = bits, or 0 for VcpuOp::recall
    deadline,  // the deadline passed: detail 0 = the deadline
    cpuid,     // detail 0 = leaf (EAX), of leaf 0dh XCR0 << 32; detail 1 = subleaf (ECX), CR4 << 32
    msr,       // detail 0 = index | write << 32, detail 1 = value written
    port,      // detail 0 = PortAccess, detail 1 = address of the next instruction
    mmio,      // detail 0 = guest-physical address, detail 1 = MmioAccess
    halt,      //
    hypercall,                // detail 0 = number (RAX), detail 1 = first argument (RBX)
    control_register,         // detail 0 = register_access; XSETBV: detail 1 = value
    exception,                // detail 0 = vector, detail 1 = error code
    interrupt_window,         // the guest can take an interrupt now
    pause,                    //
    shutdown,                 // triple fault
    invalid_state,            // the processor refused the state: nothing was executed
    rdpmc,                    // detail 0 = counter (ECX)
    cache_control,            // INVD, WBINVD: detail 0 = 1 if it writes back
    unsupported_instruction,  // one that CPUID does not offer: virtualization, MONITOR, XSETBV, …
    time_stamp,               // RDTSC, RDTSCP: detail 0 = 1 for the second
    translation,              // INVLPG
    task_switch,              // by a far transfer or a task gate: detail 0 = selector
    debug_register,           // detail 0 = register number | write << 8
    legacy_fpu_error,         // an x87 error with CR0.NE clear
    unknown,                  // one that this kernel has no name for
    count
};
// Rows of an exit table. Later versions may have more; a label has room for 256.
constexpr unsigned exit_classes = static_cast<unsigned>(ExitClass::count);

constexpr const char* to_text(ExitClass c) {
    constexpr const char* names[] = {"startup",
                                     "recall",
                                     "deadline",
                                     "cpuid",
                                     "msr",
                                     "port",
                                     "mmio",
                                     "halt",
                                     "hypercall",
                                     "control",
                                     "exception",
                                     "window",
                                     "pause",
                                     "shutdown",
                                     "invalid state",
                                     "rdpmc",
                                     "cache control",
                                     "unsupported instruction",
                                     "time stamp",
                                     "translation",
                                     "task switch",
                                     "debug register",
                                     "legacy FPU error",
                                     "unknown"};
    static_assert(sizeof(names) / sizeof(names[0]) == exit_classes);
    return c < ExitClass::count ? names[static_cast<unsigned>(c)] : "?";
}

// The exit message (registers of reply_wait's result):
//   badge  the portal capability's badge         label  ExitClass | ExitFlags << 8
//   word 0 sequence   word 1 guest RIP   word 2 detail 0   word 3 detail 1
//   word 4 guest RAX  word 5 guest RFLAGS
namespace exit_flag {
constexpr std::uint64_t replayed = 1 << 0;     // this exit was delivered before, to another handler
constexpr std::uint64_t irq_pending = 1 << 1;  // the interrupt given with `irq` was not taken yet
constexpr std::uint64_t shadow = 1 << 2;       // the guest is in an interrupt shadow (STI, MOV SS)
constexpr std::uint64_t delivering =
    1 << 3;  // the exit came while an event was delivered; the kernel
             // delivers that event again on resume
constexpr std::uint64_t length_assumed =
    1 << 4;  // the processor did not say how long the instruction is: `advance` takes the shortest
             // encoding (HLT 1, VMMCALL 3, others 2 bytes)
}  // namespace exit_flag

// The reply message: label Action, word 0 sequence, word 1 StateGroups that are dirty,
//   word 2 RAX if group `rax_word` is dirty, word 3 vector (or no_vector) if `irq_word` is,
//   word 4 deadline in absolute TSC if `deadline_word` is.
enum class Action : std::uint64_t {
    resume = 0,        // enter the guest at RIP
    advance = 1,       // skip the instruction that exited, then enter
    forward = 2,       // a policy gives this exit to the base of the same class
    park = 3,          // sleep until an Event, the deadline or a recall
    park_advance = 4,  // skip the instruction, then park (HLT)
    stop = 5,          // the guest is finished: never enter it again
    give_way = 6,      // skip the instruction; others of its priority on the core go first (PAUSE)
};
constexpr std::uint64_t no_vector = 0x100;

// PortAccess in detail 0.
namespace port_access {
constexpr std::uint64_t port_mask = 0xffff;
constexpr unsigned width_shift = 16;  // 1, 2 or 4 bytes
constexpr std::uint64_t in = 1 << 24;
constexpr std::uint64_t string = 1 << 25;
constexpr std::uint64_t rep = 1 << 26;
}  // namespace port_access

// RegisterAccess in detail 0.
namespace register_access {
constexpr std::uint64_t number_mask = 0xff;
constexpr std::uint64_t write = 1 << 8;
constexpr std::uint64_t xcr = 1 << 9;  // XSETBV of that number; 255: of that or a larger one
}  // namespace register_access

// MmioAccess in detail 1: the page-fault error code's bits.
namespace mmio_access {
constexpr std::uint64_t present = 1 << 0;
constexpr std::uint64_t write = 1 << 1;
constexpr std::uint64_t fetch = 1 << 4;
constexpr std::uint64_t page_walk = 1ull << 33;  // the guest's own page tables lie there
}  // namespace mmio_access

// Parts of the vCPU's state, for `wanted` (exit table) and `dirty` (reply).
namespace state {
constexpr std::uint64_t gpr_low = 1 << 0;   // rax rcx rdx rbx
constexpr std::uint64_t gpr_mid = 1 << 1;   // rsp rbp rsi rdi
constexpr std::uint64_t gpr_high = 1 << 2;  // r8 .. r15
constexpr std::uint64_t rip =
    1 << 3;  // loading it ends an interrupt shadow, unless `shadow` is loaded too
constexpr std::uint64_t rflags = 1 << 4;
constexpr std::uint64_t segments = 1 << 5;     // es cs ss ds fs gs
constexpr std::uint64_t tables = 1 << 6;       // tr ldtr gdtr idtr
constexpr std::uint64_t control = 1 << 7;      // cr0 cr2 cr3 cr4 efer
constexpr std::uint64_t debug = 1 << 8;        // dr6 dr7
constexpr std::uint64_t system_msrs = 1 << 9;  // star lstar cstar sfmask kernel_gs sysenter_*
constexpr std::uint64_t pat = 1 << 10;
constexpr std::uint64_t event = 1 << 11;  // exception or NMI to inject
constexpr std::uint64_t intercepts = 1 << 12;
constexpr std::uint64_t tsc_offset = 1 << 13;
constexpr std::uint64_t shadow = 1 << 14;
constexpr std::uint64_t instruction = 1 << 15;  // instruction bytes, where hardware gives them
constexpr std::uint64_t all = 0xffff;
constexpr std::uint64_t rax_word = 1 << 16;  // reply only: words 2, 3, 4
constexpr std::uint64_t irq_word = 1 << 17;
constexpr std::uint64_t deadline_word = 1 << 18;
// Not part of `all`: registers that the kernel switches only between guests, and that cost more than a word.
constexpr std::uint64_t fpu = 1 << 19;  // x87 and vector registers, PKRU
constexpr std::uint64_t xcr0 = 1 << 20;
constexpr std::uint64_t debug_addresses = 1 << 21;  // dr0 .. dr3
constexpr std::uint64_t tsc_aux = 1 << 22;
constexpr std::uint64_t lazy = fpu | xcr0 | debug_addresses | tsc_aux;
constexpr std::uint64_t valid_groups = all | lazy;
// Reply only: what the processor remembers of the guest's page tables is forgotten before the guest runs on.
constexpr std::uint64_t translations = 1 << 23;
constexpr std::uint64_t valid_reply = (1 << 24) - 1;
}  // namespace state

}  // namespace margay
