// From GRUB2 (Multiboot2 §3.3, 32-bit protected mode) or a start-up IPI to 64-bit C++.
#include "ukernel/arch/x86_64/offsets.hpp"

#define MB2_MAGIC 0xe85250d6
#define HIGH(x) ((x) + 0xffffffff80000000)

        .section .multiboot, "a"
        .align  8
header:
        .long   MB2_MAGIC, 0, header_end - header, -(MB2_MAGIC + (header_end - header))
        // Modules must be page-aligned: their memory is handed out in pages.
        .align  8
        .short  6, 0
        .long   8
        .align  8
        .short  0, 0
        .long   8
header_end:

        .section .boot.text, "ax"
        .code32
        .globl  start
start:
        cli
        mov     %eax, %edi                      // magic
        mov     %ebx, %esi                      // boot information
        // Identity and kernel image: 4 GiB in 2 MiB pages, through the same page directories.
        mov     $boot_directories, %eax
        mov     $0x83, %ecx
        mov     $2048, %edx
1:      mov     %ecx, (%eax)
        movl    $0, 4(%eax)
        add     $8, %eax
        add     $0x200000, %ecx
        dec     %edx
        jnz     1b
        mov     $boot_directories + 3, %ecx
        mov     $boot_pointers, %eax
        mov     $4, %edx
2:      mov     %ecx, (%eax)
        add     $8, %eax
        add     $4096, %ecx
        dec     %edx
        jnz     2b
        movl    $boot_directories + 3, boot_pointers_high + 510 * 8
        movl    $boot_pointers + 3, boot_root
        movl    $boot_pointers + 3, boot_root + 256 * 8
        movl    $boot_pointers_high + 3, boot_root + 511 * 8
        mov     $boot_root, %eax
        mov     %eax, %cr3
        call    enable_long_mode
        lgdt    boot_gdt_pointer
        ljmp    $SEL_KERNEL_CODE, $start64

enable_long_mode:
        mov     %cr4, %eax
        or      $0xa0, %eax                     // PAE, PGE
        mov     %eax, %cr4
        mov     $0xc0000080, %ecx               // EFER
        rdmsr
        or      $0x900, %eax                    // LME, NXE
        wrmsr
        mov     %cr0, %eax
        or      $0x80010001, %eax               // PG, WP, PE
        and     $0x9fffffff, %eax               // CD, NW off
        mov     %eax, %cr0
        ret

        .code64
start64:
        xor     %eax, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     %eax, %fs
        mov     %eax, %gs
        mov     $boot_stack_top, %rsp
        xor     %ebp, %ebp
        movabs  $kernel_main, %rax
        call    *%rax
        ud2

        .section .boot.data, "aw"
        .align  8
boot_gdt:
        .quad   0, 0x00af9b000000ffff, 0x00cf93000000ffff
boot_gdt_pointer:
        .short  23
        .long   boot_gdt

        .section .boot.bss, "aw", @nobits
        .align  4096
boot_root:          .skip 4096
boot_pointers:      .skip 4096
boot_pointers_high: .skip 4096
boot_directories:   .skip 4 * 4096

        .section .bss
        .align  16
boot_stack:     .skip 16384
boot_stack_top:

// The other cores start here in real mode: copied to a page below 1 MiB (find_trampoline). The
// pointers at its end are filled in by smp.cpp.
        .section .rodata.trampoline, "a"
        .align  16
        .globl  trampoline_begin, trampoline_end, trampoline_parameters
        .code16
trampoline_begin:
        cli
        xor     %eax, %eax
        mov     %cs, %ax
        mov     %ax, %ds
        shl     $4, %eax
        mov     %eax, %ebx                      // linear address of this page
        lea     (trampoline_gdt - trampoline_begin)(%ebx), %ecx
        mov     %ecx, (trampoline_gdt_pointer - trampoline_begin + 2)
        lgdtl   (trampoline_gdt_pointer - trampoline_begin)
        lea     (trampoline_32 - trampoline_begin)(%ebx), %ecx
        mov     %ecx, (trampoline_far - trampoline_begin)
        mov     %cr0, %eax
        or      $1, %eax
        mov     %eax, %cr0
        ljmpl   *(trampoline_far - trampoline_begin)
        .code32
trampoline_32:
        mov     $SEL_KERNEL_DATA, %eax
        mov     %eax, %ds
        mov     %eax, %ss
        // Written before paging: this page is read-only afterwards.
        lea     (trampoline_64 - trampoline_begin)(%ebx), %ecx
        mov     %ecx, (trampoline_far - trampoline_begin)(%ebx)
        movw    $0x18, (trampoline_far - trampoline_begin + 4)(%ebx)
        mov     (trampoline_parameters - trampoline_begin)(%ebx), %eax
        mov     %eax, %cr3
        mov     %cr4, %eax
        or      $0xa0, %eax
        mov     %eax, %cr4
        mov     $0xc0000080, %ecx
        rdmsr
        or      $0x900, %eax
        wrmsr
        mov     %cr0, %eax
        or      $0x80010001, %eax
        and     $0x9fffffff, %eax
        mov     %eax, %cr0
        ljmp    *(trampoline_far - trampoline_begin)(%ebx)
        .code64
trampoline_64:
        mov     %ebx, %ebx
        mov     (trampoline_parameters - trampoline_begin + 8)(%rbx), %rsp
        mov     (trampoline_parameters - trampoline_begin + 16)(%rbx), %rdi
        mov     (trampoline_parameters - trampoline_begin + 24)(%rbx), %rax
        xor     %ebp, %ebp
        call    *%rax
        ud2
        .align  8
trampoline_gdt:
        .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
trampoline_gdt_pointer:
        .short  31
        .long   0
trampoline_far:
        .long   0
        .short  SEL_KERNEL_CODE
        .align  8
trampoline_parameters:                          // root table, stack, argument, entry
        .quad   0, 0, 0, 0
trampoline_end:

        .section .note.GNU-stack,"",@progbits
