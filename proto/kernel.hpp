// The kernel's binary interface: system calls, object types, rights and limits.
//
// Registers of a system call: RAX = Syscall; arguments in RDI RSI RDX R8 R9 R10 R12 R13.
// Result: RAX = Status; values in RDI RSI RDX R8 R9 R10 R12 R13.
// RCX, R11, RBX, RBP, R14 and R15 do not survive a system call (they come back as zero or are
// overwritten), so that nothing leaks between protection domains and nothing needs saving.
#pragma once
#include <cstdint>

#include "proto/status.hpp"

namespace margay {

// Raised when a layout or meaning below changes. See docs/manual/abi-changes.md.
constexpr std::uint32_t abi_version = 3;

enum class Syscall : std::uint64_t {
    call = 0,  // RDI portal, RSI label, RDX.. six words     -> RSI label, six words
    reply_wait =
        1,       // RSI label, six words                       -> RDI badge, RSI label, six words
    signal = 2,  // RDI event, RSI bits
    wait = 3,    // RDI event, RSI absolute deadline (TSC)     -> RDI bits that were set
    create = 4,  // RDI ObjectType | destination << 32, RSI storage slot, RDX R8 R9 R10 R12
    copy = 5,    // RDI source, RSI domain | destination << 32, RDX rights, R8 badge
    revoke = 6,  // RDI slot, RSI RevokeFlags
    map = 7,     // RDI memory | target << 32, RSI address, RDX offset, R8 size, R9 MapRights
    portal_ctl = 8,   // RDI portal, RSI PortalOp, RDX thread
    vcpu_ctl = 9,     // RDI vcpu, RSI VcpuOp, RDX R8 R9
    thread_ctl = 10,  // RDI thread, RSI ThreadOp, RDX R8
    domain_ctl = 11,  // RDI domain, RSI DomainOp, RDX R8
    irq_ctl = 12,     // RDI irq, RSI IrqOp, RDX event or core, R8 bits
    memory_ctl = 13,  // RDI memory, RSI MemoryOp, RDX R8 R9
    core_ctl = 14,    // RDI core, RSI CoreOp
    device_ctl = 15,  // RDI device, RSI DeviceOp, RDX
    count
};

enum class ObjectType : std::uint8_t {
    none = 0,
    domain,          // protection domain: capability table and native address space
    space,           // second-level address space of guests
    memory,          // contiguous extent of RAM, device memory or I/O ports
    thread,          // native execution context, bound to a core
    vcpu,            // guest execution context, bound to a core
    portal,          // IPC entry, bound to a handler thread
    event,           // latched word of bits
    irq,             // one interrupt source
    irq_control,     // authority to create Irq objects; only init has it at boot
    core,            // authority over one core's time
    dma_space,       // what the DMA of devices reaches
    device,          // one PCI function as the source of DMA and of interrupt messages
    device_control,  // authority to create Device objects; only init has it at boot
    count
};

// A capability slot number in the caller's own table.
using Slot = std::uint32_t;
constexpr Slot no_slot = 0xffffffff;

constexpr std::uint64_t page_size = 4096;
constexpr unsigned max_derivation_depth = 48;
constexpr unsigned max_cores = 1024;
constexpr unsigned priorities = 64;        // 0 is the lowest
constexpr unsigned max_map_leaves = 4096;  // page-table leaves one map call may write
constexpr std::uint64_t no_deadline = ~0ull;
constexpr unsigned message_words = 6;

// Native addresses that a Domain may map. The last page of the lower half stays free, so that an
// instruction pointer is never non-canonical when the kernel returns to it.
constexpr std::uint64_t user_begin = 0x10000;
constexpr std::uint64_t user_end = 0x7fff'ffff'f000;
// Guest-physical addresses that a guest Space may map.
constexpr std::uint64_t guest_end = 1ull << 46;

// Rights, one byte per capability. The meaning depends on the type.
namespace right {
constexpr std::uint8_t all = 0xff;
// Memory
constexpr std::uint8_t read = 1;
constexpr std::uint8_t write = 2;
constexpr std::uint8_t execute = 4;
constexpr std::uint8_t derive = 8;  // carve, or use as storage for kernel objects
// Portal
constexpr std::uint8_t call = 1;
constexpr std::uint8_t bind = 2;
// Event
constexpr std::uint8_t signal = 1;
constexpr std::uint8_t wait = 2;
// Domain
constexpr std::uint8_t grant = 1;  // place capabilities into its table
constexpr std::uint8_t map = 2;    // Domain, Space and DmaSpace: map memory into it
// Vcpu, for whoever handles its exits: VcpuOp::read_state and query
constexpr std::uint8_t inspect = 1;
// Domain, Space, Thread, Vcpu, Irq, IrqControl, Core, DmaSpace, Device, DeviceControl
constexpr std::uint8_t control = 4;
}  // namespace right

// Label bit of call and reply_wait: one capability travels with the message. The sender names its slot
// and the rights to pass in word 5 (slot | rights << 32); it arrives in the receiver's receive slot
// (ThreadOp::set_receive_slot), and word 5 arrives as 1 if it did, 0 if it could not.
constexpr std::uint64_t label_transfer = 1ull << 63;

namespace revoke_flag {
constexpr std::uint64_t descendants = 0;  // everything derived from the capability
constexpr std::uint64_t self = 1;         // and the capability itself
}  // namespace revoke_flag

// With the function's number, when a Device is created.
namespace device_flag {
// Also where nothing confines its interrupts: it can raise any vector and NMIs on any core, be taken for another device, and send
// INIT, which restarts a core and ends the node.
constexpr std::uint64_t may_raise_any = 1 << 16;
}  // namespace device_flag

// Rights of a mapping, and the memory type. Writable and executable together are refused.
namespace map_right {
constexpr std::uint64_t read = 1;
constexpr std::uint64_t write = 2;
constexpr std::uint64_t execute = 4;  // a guest Space ignores W^X: the guest decides
constexpr std::uint64_t uncached = 8;
constexpr std::uint64_t read_write = read | write;
}  // namespace map_right

enum class MemoryType : std::uint8_t { ram = 0, device = 1, ports = 2 };

// create, by type (RDX R8 R9 R10 R12):
//   domain   RDX slots, R8 mapping records; the rest of the storage is its page-table pool
//   space    RDX mapping records; the rest is its page-table pool
//   memory   RSI parent extent, RDX base (bytes, or port number), R8 size, R9 CarveFlags: a disjoint child,
//            no storage
//   thread   RDX domain, R8 core | priority << 32, R9 entry, R10 stack pointer, R12 first argument (RDI)
//   vcpu     RDX space, R8 core | priority << 32, R9 memory of the state page (4 KiB RAM)
//   portal   RDX handler thread or no_slot, R8 core
//   event    -
//   irq      RDX irq_control, R8 global system interrupt number; or
//            RDX device, R8 index of the message (below device_messages), R9 core that takes it
//   dma_space  RDX mapping records; the rest is its page-table pool
//   device   RDX device_control, R8 requester: PCI bus << 8 | device << 3 | function
// Bytes of storage each type needs at least; extents used as storage are page-aligned.
constexpr std::uint64_t storage_thread = 4096;
constexpr std::uint64_t storage_vcpu = 16384;
constexpr std::uint64_t storage_small = 4096;  // portal, event, irq
constexpr std::uint64_t storage_device = 8192;
constexpr std::uint64_t slot_bytes = 128;
constexpr std::uint64_t mapping_bytes = 96;
constexpr std::uint64_t max_slots = 1 << 20;     // of a Domain
constexpr std::uint64_t max_mappings = 1 << 20;  // of a Domain or Space
constexpr std::uint64_t space_overhead =
    8 * page_size;  // object, I/O and MSR permission maps, root
constexpr std::uint64_t dma_space_overhead = 2 * page_size;  // object, root table
constexpr std::uint64_t domain_overhead = 2 * page_size;     // object, root table

namespace carve_flag {
// What is derived from the child gets a lock of its own: calls about it do not wait for calls about other
// estates. For whoever hands out memory: one estate for each client.
constexpr std::uint64_t estate = 1;
}  // namespace carve_flag

enum class PortalOp : std::uint64_t {
    bind = 0,    // RDX thread: the handler; waiting callers are served
    unbind = 1,  // callers wait from now on
};

enum class ThreadOp : std::uint64_t {
    start = 0,             // let a created or suspended thread run
    suspend = 1,           // take it off its core
    set_death_event = 2,   // RDX event, R8 bits: signalled when it faults; R9 death_flag bits
    set_receive_slot = 3,  // RDX slot for transferred capabilities; RDI must be no_slot: oneself
    read_registers =
        4,      // RDX index of ThreadRegister -> RDI value; only of a thread that is stopped
    yield = 5,  // RDI must be no_slot: give the core to the next of equal priority
    kill = 6,   // end it as a fault would: its death is signalled, its registers can be read
};

// What ThreadOp::set_death_event is given.
namespace death_flag {
constexpr std::uint64_t quiet = 1;  // the kernel prints no report: whoever is signalled does
}

enum class ThreadRegister : std::uint64_t {
    rax,
    rcx,
    rdx,
    rbx,
    rsp,
    rbp,
    rsi,
    rdi,
    r8,
    r9,
    r10,
    r11,
    r12,
    r13,
    r14,
    r15,
    rip,
    rflags,
    fault_vector,
    fault_error,
    fault_address,
    count
};

enum class DomainOp : std::uint64_t {
    set_name = 0,     // RDX R8: 16 characters, zero padded
    set_symbols = 1,  // RDX address of the symbol table in that address space (proto/symbols.hpp)
};

enum class IrqOp : std::uint64_t {
    bind = 0,         // RDX event, R8 bits: deliver to it, and unmask
    unbind = 1,       // mask
    acknowledge = 2,  // a level-triggered line may fire again
    query = 3,  // of a message -> RDI the address and RSI the data that the device has to write
    move = 4,   // of a message, RDX core: that one takes it from now on; none is lost on the way
};

constexpr unsigned device_messages = 512;  // that a Device can have, and indices

enum class DeviceOp : std::uint64_t {
    attach =
        0,  // RDX dma_space: its DMA reaches what that maps; `in_use` while it is attached to one
    detach = 1,  // nothing; when it returns, no DMA of before is under way in the IOMMU
    query = 2,   // -> RDI requester, RSI 1 if it is attached
};

enum class MemoryOp : std::uint64_t {
    query = 0,       // -> RDI base, RSI size, RDX MemoryType
    port_read = 1,   // RDX port, R8 width in bytes (1, 2, 4)      -> RDI value
    port_write = 2,  // RDX port, R8 width, R9 value
    // Bytes of a FIFO, in one call: reads port RDX while a bit of R9 is set in port R8, R10 times at most (port_burst)
    port_drain = 3,  // -> RDI count, RSI RDX bytes, the first one lowest
    port_fill = 4,   // RDX port, R8 count up to port_burst, R9 R10 bytes
};

constexpr unsigned port_burst = 16;

enum class CoreOp : std::uint64_t {
    // -> RDI interrupts that the kernel has taken on the core, RSI its local APIC id, RDX its NUMA node,
    // R8 its time-stamp counter minus core 0's when it started (ticks, signed), R9 the error of that at
    // most (~0: not measured), R10 core_flag bits
    query = 0,
    // -> RDI interrupts that nobody had asked for, RSI NMIs, RDX machine checks, R8 messages of devices
    events = 1,
};

namespace core_flag {
constexpr std::uint64_t x2apic = 1;  // its local APIC is in x2APIC mode
constexpr std::uint64_t pcid = 2;    // switches between address spaces keep translations
}  // namespace core_flag

enum class VcpuOp : std::uint64_t {
    bind_row = 0,    // RDX ExitClass, R8 portal or no_slot, R9 wanted StateGroups
    bind_event = 1,  // RDX event or no_slot: signals arrive as class recall
    start = 2,       // deliver the startup exit, with sequence number RDX + 1
    recall = 3,      // deliver a recall as soon as possible
    read_state =
        4,        // RDX StateGroups: write them into the state page; only while an exit is pending,
                  // or suspended and out of the guest
    suspend = 5,  // recall it, then do not enter the guest until resume
    resume = 6,
    set_death_event = 7,  // RDX event, R8 bits: signalled when an exit has no handler
    query = 8,  // -> RDI sequence number of the last exit, RSI vcpu_flag bits. A glance: on
                // another core things go on meanwhile
    bind_policy =
        9,  // as bind_row: asked before the row's own portal, which gets what it forwards, and
            // all while it has no handler
    count_exits =
        10,  // RDX ExitClass -> RDI exits of that class, RSI ticks that they waited for their
    // replies; RDX and R8, R9 and R10, R12 and R13 of the three that follow, 0 where there is
    // no such class. RDX first_kernel_exit -> RDI RSI RDX by KernelExit. A glance
};

// Exits that the kernel answers by itself, as VcpuOp::count_exits has them: no handler learns of them.
constexpr std::uint64_t first_kernel_exit = 256;
enum class KernelExit : std::uint8_t {
    interrupt = 0,  // of the node, which ended the guest's turn
    exception,      // that is the guest's own, or a machine check
    step,           // over an instruction, or to the end of the guest's NMI handler
    count
};
constexpr unsigned kernel_exits = static_cast<unsigned>(KernelExit::count);
// Classes that one VcpuOp::count_exits tells about.
constexpr unsigned counted_at_once = 4;

namespace vcpu_flag {
constexpr std::uint64_t pending = 1;     // the exit waits for its reply
constexpr std::uint64_t in_service = 2;  // a handler has it; otherwise it waits for one
constexpr std::uint64_t dead = 4;        // it will never be entered again
constexpr std::uint64_t stopped = 8;     // suspended and out of the guest, or never started
constexpr std::uint64_t forwarded =
    16;  // the exit that waits goes to the base: its policy has forwarded it
constexpr unsigned class_shift = 8;  // eight bits: ExitClass of the last exit
}  // namespace vcpu_flag

}  // namespace margay
