// Where the measures of mitigation.hpp lie: out of the way of machines that need none. Patched in at start.
#include "ukernel/arch/x86_64/offsets.hpp"

#define MSR_PRED_CMD 0x49

        .text
// In the place of the write to CR3 on the IPC path: RAX new tables, RBP Core. RBX, RCX are free.
        .globl  ipc_switch_barrier
ipc_switch_barrier:
        mov     %rax, CORE_CR3(%rbp)
        mov     %rax, %cr3
        movq    $0, CORE_LAST_GUEST(%rbp)
        mov     %rdx, %rbx
        mov     $MSR_PRED_CMD, %ecx
        mov     $1, %eax                        // IBPB
        xor     %edx, %edx
        wrmsr
        mov     %rbx, %rdx
        jmp     ipc_switch_done

// In the place of SWAPGS; SYSRET and SWAPGS; IRETQ: VERW with a valid selector empties the buffers.
        .globl  clear_and_sysret
clear_and_sysret:
        verw    verw_selector(%rip)
        swapgs
        sysretq
        .globl  clear_and_iret
clear_and_iret:
        verw    verw_selector(%rip)
        swapgs
        iretq

// Between a VM exit and guest_exited: 32 return addresses that lead nowhere.
        .globl  fill_rsb
fill_rsb:
        mov     $16, %ecx
1:      call    2f
3:      pause
        lfence
        jmp     3b
2:      call    4f
5:      pause
        lfence
        jmp     5b
4:      dec     %ecx
        jnz     1b
        add     $32*8, %rsp
        jmp     guest_exited

// Indirect branches by way of RET, whose prediction ends in a loop (-mindirect-branch=thunk-extern).
// Where that is not needed the first bytes become JMP *register. 32 bytes each, in the registers' order.
        .macro  THUNK reg
        .align  32
        .globl  __x86_indirect_thunk_\reg
__x86_indirect_thunk_\reg:
        call    1f
2:      pause
        lfence
        jmp     2b
1:      mov     %\reg, (%rsp)
        ret
        .endm
        .align  32
        .globl  indirect_thunks
indirect_thunks:
        THUNK   rax
        THUNK   rcx
        THUNK   rdx
        THUNK   rbx
        .align  32
        ud2                                     // RSP
        THUNK   rbp
        THUNK   rsi
        THUNK   rdi
        THUNK   r8
        THUNK   r9
        THUNK   r10
        THUNK   r11
        THUNK   r12
        THUNK   r13
        THUNK   r14
        THUNK   r15

        .section .rodata
        .align  2
verw_selector:
        .short  SEL_KERNEL_DATA

        .section .note.GNU-stack,"",@progbits
