/*
 * The init of the guest whose boot is measured: prints the time-stamp counter at its first
 * instruction as "guest-init-tsc N", then powers off. Runs under Margay and directly under QEMU.
 */
        .globl  _start
_start: rdtsc
        shlq    $32, %rdx
        orq     %rdx, %rax

        /* Decimal digits, from the last one backwards. */
        leaq    digits_end(%rip), %rsi
        movl    $10, %ecx
1:      xorl    %edx, %edx
        divq    %rcx
        addb    $'0', %dl
        decq    %rsi
        movb    %dl, (%rsi)
        testq   %rax, %rax
        jnz     1b

        /* write(1, text, text_end - text); the digits go right behind the text. */
        leaq    text_end(%rip), %rdi
        leaq    digits_end(%rip), %rcx
        subq    %rsi, %rcx
        movq    %rcx, %rdx
        rep     movsb
        movb    $'\n', (%rdi)
        addq    $(text_end - text + 1), %rdx
        movl    $1, %eax
        movl    $1, %edi
        leaq    text(%rip), %rsi
        syscall

        movl    $169, %eax              /* reboot(POWER_OFF) */
        movl    $0xfee1dead, %edi
        movl    $672274793, %esi
        movl    $0x4321fedc, %edx
        syscall
2:      jmp     2b

        .data
text:   .ascii  "guest-init-tsc "
text_end:
        .skip   24
        .skip   24
digits_end:
        .section .note.GNU-stack, "", @progbits
