// System calls: the entry stub and the IPC fast path.
//
// Registers at entry: RAX system call, RDI capability, RSI label, RDX R8 R9 R10 R12 R13 words;
// RCX and R11 hold the caller's RIP and RFLAGS (SYSCALL). RBX, RBP, R14 and R15 are free: the ABI
// says that they do not survive.
//
// The fast path checks everything without changing anything; from POINT OF NO RETURN on nothing can
// fail. It touches no stack, takes no lock and runs no scheduler.
#include "ukernel/arch/x86_64/offsets.hpp"

// Six bytes that mitigation.cpp may change.
        .macro  SWAPGS_SYSRET
        .pushsection .sysret_sites, "a"
        .quad   1f
        .popsection
1:      swapgs
        sysretq
        .endm

        .text
        .globl  syscall_entry
        .align  64
syscall_entry:
        swapgs
        mov     %gs:CORE_CURRENT, %rbx          // the caller's Thread
        mov     %rsp, RSP(%rbx)
        mov     %rcx, CTX_RIP(%rbx)
        mov     %r11, CTX_RFLAGS(%rbx)
        cmp     $1, %rax
        je      reply_wait
        ja      slow

// call: RDI portal
        mov     %edi, %eax
        cmp     CTX_SLOT_COUNT(%rbx), %eax
        jae     slow_call
        shl     $SLOT_SHIFT, %rax
        add     CTX_SLOTS(%rbx), %rax           // CapSlot*
        cmpb    $TYPE_PORTAL, SLOT_TYPE(%rax)
        jne     slow_call
        testb   $RIGHT_CALL, SLOT_RIGHTS(%rax)
        jz      slow_call
        mov     SLOT_OBJECT(%rax), %r14         // Portal*
        mov     %gs:CORE_SELF, %rbp
        cmp     %rbp, PORTAL_CORE(%r14)         // of another core nothing more may be looked at
        jne     slow_call
        mov     PORTAL_ENTRY(%r14), %r15        // Thread*, or somebody who never accepts
        cmp     %rbp, CTX_OPEN_ON(%r15)         // does it accept a call?
        jne     slow_call
        test    %rsi, %rsi                      // label_transfer: a capability travels along
        js      slow_call
        // POINT OF NO RETURN
        mov     SLOT_BADGE(%rax), %rdi
        movb    $STATE_CALLING, CTX_STATE(%rbx)
        mov     %rbx, CTX_CALLER(%r15)
        mov     %r15, CTX_CALLEE(%rbx)
        jmp     enter_partner

// reply_wait: the reply goes to whom the handler is serving
reply_wait:
        mov     CTX_CALLER(%rbx), %r15
        test    %r15, %r15
        jz      slow_reply
        cmpb    $0, CTX_CALLERS_WAIT(%rbx)      // somebody waits: the handler goes on
        jne     slow_reply
        cmpb    $KIND_THREAD, CTX_KIND(%r15)
        jne     vcpu_reply
        test    %rsi, %rsi
        js      slow_reply
        // POINT OF NO RETURN
        mov     %gs:CORE_SELF, %rbp
        movq    $0, CTX_CALLER(%rbx)
        mov     %rbp, CTX_OPEN_ON(%rbx)
        movb    $STATE_ACCEPTING, CTX_STATE(%rbx)
        xor     %edi, %edi

// To the partner in R15, on the caller's budget. RBP: Core.
enter_partner:
        movq    $0, CTX_OPEN_ON(%r15)
        movb    $STATE_READY, CTX_STATE(%r15)
        mov     %r15, CORE_CURRENT(%rbp)
        mov     CTX_CR3(%r15), %rax
        cmp     CORE_CR3(%rbp), %rax
        je      1f
        .globl  ipc_switch_site, ipc_switch_done
ipc_switch_site:                                // 7 bytes, see mitigation.cpp
        mov     %rax, CORE_CR3(%rbp)
        mov     %rax, %cr3
ipc_switch_done:
1:      mov     RSP(%r15), %rsp
        mov     CTX_RIP(%r15), %rcx
        mov     CTX_RFLAGS(%r15), %r11
        xor     %eax, %eax                      // Status::ok
        xor     %ebx, %ebx                      // nothing of the sender's shows in the receiver
        xor     %ebp, %ebp
        xor     %r14d, %r14d
        xor     %r15d, %r15d
        SWAPGS_SYSRET

// The reply to a VM exit: vcpu_reply_wait(Thread*, label, sequence, dirty, rax, vector); the deadline
// waits in the Thread's R12.
vcpu_reply:
        mov     %gs:CORE_STACK_TOP, %rsp
        mov     %r12, R12(%rbx)
        mov     %r8, %rcx
        mov     %r9, %r8
        mov     %r10, %r9
        mov     %rbx, %rdi
        xor     %ebp, %ebp
        call    vcpu_reply_wait
        ud2

slow_call:
        xor     %eax, %eax
        jmp     slow
slow_reply:
        mov     $1, %eax
// Everything else: the arguments go into the Thread, C++ takes over on the core's stack.
slow:
        mov     %rax, RAX(%rbx)
        mov     %rdi, RDI(%rbx)
        mov     %rsi, RSI(%rbx)
        mov     %rdx, RDX(%rbx)
        mov     %r8, R8(%rbx)
        mov     %r9, R9(%rbx)
        mov     %r10, R10(%rbx)
        mov     %r12, R12(%rbx)
        mov     %r13, R13(%rbx)
        movb    $0, CTX_FULL_FRAME(%rbx)
        mov     %gs:CORE_STACK_TOP, %rsp
        mov     %rbx, %rdi
        xor     %ebp, %ebp
        call    system_call
        ud2

// enter_thread(rdi: Thread*): back to user level with what a system call returns.
        .globl  enter_thread_result
        .align  64
enter_thread_result:
        mov     RSP(%rdi), %rsp
        mov     CTX_RIP(%rdi), %rcx
        mov     CTX_RFLAGS(%rdi), %r11
        mov     RAX(%rdi), %rax
        mov     RSI(%rdi), %rsi
        mov     RDX(%rdi), %rdx
        mov     R8(%rdi), %r8
        mov     R9(%rdi), %r9
        mov     R10(%rdi), %r10
        mov     R12(%rdi), %r12
        mov     R13(%rdi), %r13
        mov     RDI(%rdi), %rdi
        xor     %ebx, %ebx
        xor     %ebp, %ebp
        xor     %r14d, %r14d
        xor     %r15d, %r15d
        SWAPGS_SYSRET

// enter_thread_full(rdi: Thread*): it was interrupted; every register comes back.
        .globl  enter_thread_full
enter_thread_full:
        mov     %gs:CORE_STACK_TOP, %rsp
        push    $SEL_USER_DATA
        push    RSP(%rdi)
        push    CTX_RFLAGS(%rdi)
        push    $SEL_USER_CODE
        push    CTX_RIP(%rdi)
        mov     RAX(%rdi), %rax
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
        mov     RDI(%rdi), %rdi
        .globl  iret_site
iret_site:                                      // 5 bytes, see mitigation.cpp
        swapgs
        iretq

        .section .note.GNU-stack,"",@progbits
