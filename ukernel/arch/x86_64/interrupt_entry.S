// Exceptions and interrupts: one stub per vector (16 bytes each), one common path to C++.
#include "ukernel/arch/x86_64/offsets.hpp"

        .text
// Vectors whose exceptions push an error code: 8 and 10 to 14. Those above 15 that have one do not occur in
// the kernel or in servers (see is_exception in interrupt.cpp), but a stray interrupt may come there, and
// pushes none.
        .macro  STUB vector
        .align  16
        .if     (\vector == 8) || (\vector >= 10 && \vector <= 14)
        push    $\vector
        .else
        push    $0
        push    $\vector
        .endif
        jmp     interrupt_common
        .endm

        .align  16
        .globl  interrupt_stubs
interrupt_stubs:
        .set    v, 0
        .rept   256
        STUB    v
        .set    v, v + 1
        .endr

// Stack: vector, error, RIP, CS, RFLAGS, RSP, SS.
interrupt_common:
        push    %r15
        push    %r14
        push    %r13
        push    %r12
        push    %r11
        push    %r10
        push    %r9
        push    %r8
        push    %rdi
        push    %rsi
        push    %rbp
        push    %rbx
        push    %rdx
        push    %rcx
        push    %rax
        cld
        // The user's AC flag would open user memory to the kernel. CLAC where there is SMAP (patch.hpp).
        .globl  clac_site
clac_site:
        .byte   0x0f, 0x1f, 0x00                // nopl (%rax)
        mov     %rsp, %rdi
        mov     15*8(%rsp), %eax                // vector
        // NMI, double fault and machine check can hit before SWAPGS: look at GS itself. They have
        // stacks of their own.
        cmp     $2, %eax
        je      paranoid
        cmp     $8, %eax
        je      paranoid
        cmp     $18, %eax
        je      paranoid
        testb   $3, 18*8(%rsp)                  // CS: from user level?
        jz      1f
        swapgs
        xor     %ebp, %ebp
        call    user_interrupt                  // does not return
        ud2
1:      call    kernel_interrupt
        jmp     restore
paranoid:
        mov     $0xc0000101, %ecx               // GS base
        rdmsr
        mov     %rsp, %rdi
        xor     %esi, %esi
        test    %edx, %edx                      // kernel addresses are negative
        js      2f
        swapgs
        mov     $1, %esi
2:      push    %rsi
        sub     $8, %rsp
        call    paranoid_interrupt
        add     $8, %rsp
        pop     %rsi
        test    %esi, %esi
        jz      restore
        swapgs
restore:
        pop     %rax
        pop     %rcx
        pop     %rdx
        pop     %rbx
        pop     %rbp
        pop     %rsi
        pop     %rdi
        pop     %r8
        pop     %r9
        pop     %r10
        pop     %r11
        pop     %r12
        pop     %r13
        pop     %r14
        pop     %r15
        add     $16, %rsp
        iretq

        .section .note.GNU-stack,"",@progbits
