// The head of every test guest: a bzImage by the 64-bit boot protocol (Linux Documentation/x86/boot.rst),
// so that the VMM loads it like any kernel.
        .section .header, "a"
header:
        .org    0x1f1
        .byte   1                               // setup sectors
        .org    0x1f4
        .long   code_paragraphs                 // from the linker script
        .org    0x1fe
        .short  0xaa55
        .byte   0xeb, 0x66                      // jump over the header: it ends at 0x268
        .ascii  "HdrS"
        .short  0x020f
        .org    0x211
        .byte   1                               // loaded high
        .org    0x22c
        .long   0x7fffffff                      // initrd_addr_max
        .long   0x200000                        // alignment
        .byte   0                               // not relocatable
        .org    0x236
        .short  1                               // 64-bit entry
        .long   2047                            // command line
        .org    0x258
        .quad   0x200000                        // preferred address
        .long   0x100000                        // memory from there on
        .org    0x268
        .org    1024

        .section .start, "ax"
code_begin:
        .org    0x200
        .globl  guest_start
guest_start:
        lea     stack_top(%rip), %rsp
        xor     %ebp, %ebp
        mov     %rsi, %rdi                      // boot parameters
        call    guest_main
        ud2

        .bss
        .align  16
        .skip   65536
stack_top:

        .section .note.GNU-stack,"",@progbits
