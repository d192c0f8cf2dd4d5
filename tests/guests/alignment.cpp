// An alignment exception that raises itself for ever (CVE-2015-5307): in 32-bit mode at privilege level 3,
// with a stack whose pointer is odd, the delivery of #AC pushes onto that stack and raises #AC again. The
// processor never gets out of it; the kernel must. Where alignment is not checked (QEMU's software
// emulation), the guest says so and powers off.
#include "tests/guests/guest.hpp"

using namespace margay::guest;

namespace {

alignas(16) std::uint64_t gdt[6];
alignas(16) std::uint64_t idt[32];
alignas(16) std::uint32_t tss[26];
alignas(16) std::uint8_t user_stack[4096];

constexpr unsigned kernel_code = 0x08, kernel_data = 0x10, user_code = 0x1b, user_data = 0x23,
                   task = 0x28;

void build_tables() {
    gdt[1] = 0x00cf9b000000ffff;
    gdt[2] = 0x00cf93000000ffff;
    gdt[3] = 0x00cffb000000ffff;
    gdt[4] = 0x00cff3000000ffff;
    const auto base = reinterpret_cast<std::uint64_t>(tss);
    gdt[5] =
        (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    tss[25] = sizeof(tss) << 16;  // no port map: IOPL 3 is enough
}

}  // namespace

// 32-bit code: paging and with it long mode end, CR0.AM is set, and privilege level 3 begins with EFLAGS.AC, IOPL 3
// and an odd ESP (ESI). There a load raises #AC, or nothing does.
asm(R"(
        .text
        .code32
alignment_32:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     %cr0, %eax
        and     $0x7fffffff, %eax
        mov     %eax, %cr0
        mov     $0xc0000080, %ecx
        xor     %eax, %eax
        xor     %edx, %edx
        wrmsr
        mov     %cr0, %eax
        or      $0x40000, %eax
        mov     %eax, %cr0
        mov     $0x28, %eax
        ltr     %ax
        mov     $0x23, %eax
        mov     %eax, %ds
        mov     %eax, %es
        push    $0x23
        push    %esi
        push    $0x43002
        push    $0x1b
        push    $alignment_user
        iretl
        .globl  alignment_user
alignment_user:
        mov     (%esi), %eax
        mov     $alignment_none, %ebx
1:      mov     $0x3fd, %edx
        in      %dx, %al
        test    $0x20, %al
        jz      1b
        mov     $0x3f8, %edx
        mov     (%ebx), %al
        test    %al, %al
        jz      2f
        out     %al, %dx
        inc     %ebx
        jmp     1b
2:      mov     $0x604, %edx
        mov     $0x3400, %eax
        out     %ax, %dx
        jmp     2b
alignment_none:
        .asciz  "this machine does not check alignment\n"
        .code64
)");
extern "C" char alignment_32[], alignment_user[];

void guest_main(void*) {
    build_tables();
    // #AC goes to code of privilege level 3, on the stack that is there.
    const auto handler = reinterpret_cast<std::uint64_t>(alignment_user);
    idt[17] = (handler & 0xffff) | static_cast<std::uint64_t>(user_code) << 16 | 0xeeull << 40 |
              (handler >> 16 & 0xffff) << 48;
    struct [[gnu::packed]] {
        std::uint16_t limit;
        std::uint64_t base;
    } const g{sizeof(gdt) - 1, reinterpret_cast<std::uint64_t>(gdt)},
        i{sizeof(idt) - 1, reinterpret_cast<std::uint64_t>(idt)};
    say("alignment: begins\n");
    asm volatile("lgdt %0\n\tlidt %1" : : "m"(g), "m"(i));
    asm volatile("mov %0, %%rsi\n\t"
                 "push %1\n\t"
                 "lea alignment_32(%%rip), %%rax\n\t"
                 "push %%rax\n\t"
                 "lretq"
                 :
                 : "r"(reinterpret_cast<std::uint64_t>(user_stack) + 2049),
                   "r"(static_cast<std::uint64_t>(kernel_code))
                 : "rax", "rsi", "memory");
    __builtin_unreachable();
}
