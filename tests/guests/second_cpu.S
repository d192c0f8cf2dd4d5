// The first code of a test guest's further vCPU, which a start-up message lets begin in real mode: second_cpu.hpp copies
// it to the page that the message names. It goes straight to 64-bit mode with the page tables of the first vCPU.
        .section .rodata.second_cpu, "a"
        .globl  second_cpu_code, second_cpu_code_end, second_cpu_cr3, second_cpu_table_base
        .balign 16
        .code16
second_cpu_code:
        mov     %cs, %ax
        mov     %ax, %ds
        movl    second_cpu_cr3 - second_cpu_code, %eax
        movl    %eax, %cr3
        movl    $0x620, %eax                    // PAE, OSFXSR, OSXMMEXCPT
        movl    %eax, %cr4
        movl    $0xc0000080, %ecx               // EFER
        rdmsr
        orl     $0x100, %eax                    // LME
        wrmsr
        lgdtl   table_pointer - second_cpu_code
        movl    $0x80000011, %eax               // PG, ET, PE
        movl    %eax, %cr0
        ljmpl   *far_pointer - second_cpu_code

        .balign 8
table:  .quad   0, 0, 0xaf9b000000ffff          // 64-bit code where the loader has it
second_cpu_cr3:
        .long   0
table_pointer:
        .short  0x17
second_cpu_table_base:
        .long   table - second_cpu_code         // the page is added
far_pointer:
        .long   begin_long
        .short  0x10
second_cpu_code_end:

        .text
        .code64
begin_long:
        mov     second_cpu_stack(%rip), %rsp
        xor     %ebp, %ebp
        call    *second_cpu_entry(%rip)
        ud2

        .section .note.GNU-stack,"",@progbits
