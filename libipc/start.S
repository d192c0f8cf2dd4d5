// The first instruction of every program. RDI: the argument its creator gave the thread.
        .text
        .globl  program_start
program_start:
        xor     %ebp, %ebp
        and     $-16, %rsp
        call    start_program
        ud2

        .section .note.GNU-stack,"",@progbits
