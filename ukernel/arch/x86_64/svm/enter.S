// Into the guest and out again: the trap stub of VM exits (AMD APM vol. 2 §15.5, §15.6).
#include "ukernel/arch/x86_64/svm/offsets.hpp"

        .text
// svm_enter(rdi: Vcpu*), on the core's kernel stack, interrupts off.
        .globl  svm_enter
svm_enter:
        mov     %gs:CORE_STACK_TOP, %rsp
        push    %gs:CORE_HOST_STATE
        push    %rdi
        mov     VCPU_VMCB(%rdi), %rax
        mov     RCX(%rdi), %rcx
        mov     RDX(%rdi), %rdx
        mov     RBX(%rdi), %rbx
        mov     RBP(%rdi), %rbp
        mov     RSI(%rdi), %rsi
        mov     R8(%rdi), %r8
        mov     R9(%rdi), %r9
        mov     R10(%rdi), %r10
        mov     R11(%rdi), %r11
        mov     R12(%rdi), %r12
        mov     R13(%rdi), %r13
        mov     R14(%rdi), %r14
        mov     R15(%rdi), %r15
        // Physical interrupts must end the guest (V_INTR_MASKING looks at the host's IF) and must
        // not arrive before it: hence GIF = 0 around STI.
        clgi
        sti
        vmload  %rax
        mov     RDI(%rdi), %rdi
        vmrun   %rax
        vmsave  %rax
        pop     %rax
        mov     %rcx, RCX(%rax)
        mov     %rdx, RDX(%rax)
        mov     %rbx, RBX(%rax)
        mov     %rbp, RBP(%rax)
        mov     %rsi, RSI(%rax)
        mov     %rdi, RDI(%rax)
        mov     %r8, R8(%rax)
        mov     %r9, R9(%rax)
        mov     %r10, R10(%rax)
        mov     %r11, R11(%rax)
        mov     %r12, R12(%rax)
        mov     %r13, R13(%rax)
        mov     %r14, R14(%rax)
        mov     %r15, R15(%rax)
        mov     %rax, %rdi
        // The host's FS, GS, TR and system call registers: GS is usable again only after this.
        pop     %rax
        vmload  %rax
        cli
        stgi
        mov     %gs:CORE_APIC_POKE, %rcx
        movl    $0, (%rcx)                      // see apic::poke_address()
        xor     %ebp, %ebp
        .globl  guest_exited_site
guest_exited_site:                              // see mitigation.cpp
        call    guest_exited
        ud2

        .section .note.GNU-stack,"",@progbits
