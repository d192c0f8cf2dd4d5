// The head of test guests that are entered in 32-bit protected mode: by the 32-bit Linux boot protocol (BOOT_LINUX), by
// Multiboot with addresses (BOOT_MULTIBOOT) or as an ELF file (BOOT_MULTIBOOT_ELF), by Xen's PVH note (BOOT_PVH). They
// note what they were given and go on in 64-bit mode.
#if defined(BOOT_LINUX)
        .section .setup, "a"                    // protocol 2.05: no preferred address, no 64-bit entry
        .org    0x1f1
        .byte   1                               // setup sectors
        .org    0x1f4
        .long   code_paragraphs
        .org    0x1fe
        .short  0xaa55
        .byte   0xeb, 0x33                      // jump over the header: it ends at 0x235
        .ascii  "HdrS"
        .short  0x0205
        .org    0x211
        .byte   1                               // loaded high
        .org    0x22c
        .long   0x7fffffff                      // initrd_addr_max
        .org    1024
#elif defined(BOOT_PVH)
        .section .note.Xen, "a", @note
        .long   4, 4, 18
        .asciz  "Xen"
        .long   guest_start
#endif

        .section .start, "ax"
        .code32
        .globl  guest_start
guest_start:
        jmp     begin
#if defined(BOOT_MULTIBOOT)
        .align  4
multiboot:
        .long   0x1badb002, 0x10003, -(0x1badb002 + 0x10003)
        .long   multiboot, load_begin, load_end, bss_end, guest_start
#elif defined(BOOT_MULTIBOOT_ELF)
        .align  4
        .long   0x1badb002, 0x3, -(0x1badb002 + 0x3)
#endif
begin:
        mov     $stack_top, %esp
        mov     %eax, entry_registers
        mov     %ebx, entry_registers + 4
        mov     %esi, entry_registers + 8
        mov     %cr0, %eax
        mov     %eax, entry_registers + 12
        pushf
        pop     entry_registers + 16

        // The first 4 GiB by pages of 2 MiB.
        movl    $level3 + 3, level4
        mov     $level3, %edi
        mov     $level2 + 3, %eax
        mov     $4, %ecx
1:      mov     %eax, (%edi)
        add     $0x1000, %eax
        add     $8, %edi
        loop    1b
        mov     $level2, %edi
        mov     $0x83, %eax
        mov     $2048, %ecx
2:      mov     %eax, (%edi)
        add     $0x200000, %eax
        add     $8, %edi
        loop    2b
        mov     $level4, %eax
        mov     %eax, %cr3
        mov     %cr4, %eax
        or      $0x20, %eax                     // PAE
        mov     %eax, %cr4
        mov     $0xc0000080, %ecx
        rdmsr
        or      $0x100, %eax                    // EFER.LME
        wrmsr
        mov     %cr0, %eax
        or      $0x80000000, %eax
        mov     %eax, %cr0
        lgdt    gdt_pointer
        ljmp    $0x10, $long_mode
        .code64
long_mode:
        mov     $0x18, %eax
        mov     %eax, %ss
        mov     %eax, %ds
        mov     %eax, %es
        lea     entry_registers(%rip), %rdi
        xor     %ebp, %ebp
        call    guest_main
        ud2

        .section .rodata
        .align  8
gdt:    .quad   0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
        .short  gdt_pointer - gdt - 1
        .long   gdt

        .bss
        .align  4096
level4: .skip   4096
level3: .skip   4096
level2: .skip   4 * 4096
entry_registers:
        .skip   32
        .align  16
        .skip   65536
stack_top:

        .section .note.GNU-stack,"",@progbits
