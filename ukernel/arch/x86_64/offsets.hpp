// Offsets and numbers that assembler code shares with C++; checked in offsets.cpp.
#pragma once

// Core
#define CORE_SELF       0
#define CORE_CURRENT    8
#define CORE_CR3        16
#define CORE_STACK_TOP  24
#define CORE_APIC_POKE  32
#define CORE_LAST_GUEST 40
#define CORE_BACKEND    48

// Context: Thread and Vcpu
#define CTX_CALLER       0
#define CTX_OPEN_ON      8
#define CTX_CR3          16
#define CTX_SLOTS        24
#define CTX_SLOT_COUNT   32
#define CTX_STATE        36
#define CTX_KIND         37
#define CTX_CALLERS_WAIT 38
#define CTX_FULL_FRAME   39
#define CTX_RIP          40
#define CTX_RFLAGS       48
#define CTX_GPR          56
#define CTX_CALLEE       184

#define GPR(n) (CTX_GPR + 8 * (n))
#define RAX    GPR(0)
#define RCX    GPR(1)
#define RDX    GPR(2)
#define RBX    GPR(3)
#define RSP    GPR(4)
#define RBP    GPR(5)
#define RSI    GPR(6)
#define RDI    GPR(7)
#define R8     GPR(8)
#define R9     GPR(9)
#define R10    GPR(10)
#define R11    GPR(11)
#define R12    GPR(12)
#define R13    GPR(13)
#define R14    GPR(14)
#define R15    GPR(15)

// Context states and kinds
#define STATE_READY     0
#define STATE_CALLING   2
#define STATE_ACCEPTING 4
#define KIND_THREAD     0
#define KIND_VCPU       1

// Vcpu
#define VCPU_GUEST 7440

// CapSlot
#define SLOT_SHIFT  7
#define SLOT_TYPE   40
#define SLOT_RIGHTS 41
#define SLOT_OBJECT 80
#define SLOT_BADGE  88
#define TYPE_PORTAL 6
#define RIGHT_CALL  1

// Portal
#define PORTAL_ENTRY 0
#define PORTAL_CORE  8

// Selectors
#define SEL_KERNEL_CODE 0x08
#define SEL_KERNEL_DATA 0x10
#define SEL_USER_DATA   0x1b
#define SEL_USER_CODE   0x23
#define SEL_TSS         0x28
