// The kernel's system calls as functions (proto/kernel.hpp).
#pragma once
#include <cstdint>

#include "libipc/raw.hpp"
#include "proto/exit.hpp"
#include "proto/kernel.hpp"
#include "support/result.hpp"

namespace margay {

// What travels through a portal: a label and six words, in registers.
struct Message {
    std::uint64_t label = 0;
    std::uint64_t words[message_words] = {};
};

struct Received {
    Status status;
    std::uint64_t badge;
    Message message;
};

namespace raw {

inline Status simple(Syscall number, std::uint64_t rdi, std::uint64_t rsi = 0,
                     std::uint64_t rdx = 0, std::uint64_t r8 = 0, std::uint64_t r9 = 0) {
    Registers r{rdi, rsi, rdx, r8, r9, 0, 0, 0};
    return system_call(number, r);
}

constexpr std::uint64_t pair(std::uint64_t low, std::uint64_t high) { return low | high << 32; }

}  // namespace raw

// Sends m and waits for the reply, which replaces m. On the caller's budget.
[[nodiscard]] inline Status call(Slot portal, Message& m) {
    raw::Registers r{portal,     m.label,    m.words[0], m.words[1],
                     m.words[2], m.words[3], m.words[4], m.words[5]};
    const Status s = raw::system_call(Syscall::call, r);
    m = {r.rsi, {r.rdx, r.r8, r.r9, r.r10, r.r12, r.r13}};
    return s;
}

// Replies to the caller that is being served, if any, and waits for the next.
[[nodiscard]] inline Received reply_wait(const Message& m) {
    raw::Registers r{0,          m.label,    m.words[0], m.words[1],
                     m.words[2], m.words[3], m.words[4], m.words[5]};
    const Status s = raw::system_call(Syscall::reply_wait, r);
    return {s, r.rdi, {r.rsi, {r.rdx, r.r8, r.r9, r.r10, r.r12, r.r13}}};
}

[[nodiscard]] inline Status signal(Slot event, std::uint64_t bits) {
    return raw::simple(Syscall::signal, event, bits);
}
// The bits that were set; `timed_out` after the deadline (TSC).
[[nodiscard]] inline Result<std::uint64_t> wait(Slot event, std::uint64_t deadline = no_deadline) {
    raw::Registers r{event, deadline};
    const Status s = raw::system_call(Syscall::wait, r);
    if (s != Status::ok) return s;
    return r.rdi;
}

[[nodiscard]] inline Status create(ObjectType type, Slot destination, Slot storage,
                                   std::uint64_t a0 = 0, std::uint64_t a1 = 0, std::uint64_t a2 = 0,
                                   std::uint64_t a3 = 0, std::uint64_t a4 = 0) {
    raw::Registers r{
        raw::pair(static_cast<std::uint64_t>(type), destination), storage, a0, a1, a2, a3, a4, 0};
    return raw::system_call(Syscall::create, r);
}
[[nodiscard]] inline Status carve(Slot destination, Slot parent, std::uint64_t base,
                                  std::uint64_t size, std::uint64_t flags = 0) {
    return create(ObjectType::memory, destination, parent, base, size, flags);
}
[[nodiscard]] inline Status create_thread(Slot destination, Slot storage, Slot domain, Slot core,
                                          unsigned priority, std::uint64_t entry,
                                          std::uint64_t stack, std::uint64_t argument) {
    return create(ObjectType::thread, destination, storage, domain, raw::pair(core, priority),
                  entry, stack, argument);
}
[[nodiscard]] inline Status create_vcpu(Slot destination, Slot storage, Slot space, Slot core,
                                        unsigned priority, Slot state_page) {
    return create(ObjectType::vcpu, destination, storage, space, raw::pair(core, priority),
                  state_page);
}
[[nodiscard]] inline Status create_portal(Slot destination, Slot storage, Slot handler, Slot core) {
    return create(ObjectType::portal, destination, storage, handler, core);
}

// badge: see copy in proto/kernel.hpp; 0 keeps the source's.
[[nodiscard]] inline Status copy(Slot source, Slot domain, Slot destination,
                                 std::uint8_t rights = right::all, std::uint64_t badge = 0) {
    return raw::simple(Syscall::copy, source, raw::pair(domain, destination), rights, badge);
}
inline Status revoke(Slot slot, std::uint64_t flags = revoke_flag::descendants) {
    return raw::simple(Syscall::revoke, slot, flags);
}
[[nodiscard]] inline Status map(Slot memory, Slot target, std::uint64_t address,
                                std::uint64_t offset, std::uint64_t size, std::uint64_t rights) {
    return raw::simple(Syscall::map, raw::pair(memory, target), address, offset, size, rights);
}

[[nodiscard]] inline Status portal_ctl(Slot portal, PortalOp op, Slot thread = no_slot) {
    return raw::simple(Syscall::portal_ctl, portal, static_cast<std::uint64_t>(op), thread);
}
[[nodiscard]] inline Status vcpu_ctl(Slot vcpu, VcpuOp op, std::uint64_t a0 = 0,
                                     std::uint64_t a1 = 0, std::uint64_t a2 = 0) {
    return raw::simple(Syscall::vcpu_ctl, vcpu, static_cast<std::uint64_t>(op), a0, a1, a2);
}
struct VcpuStatus {
    std::uint64_t sequence = 0;  // of the last exit
    bool pending = false;        // it waits for its reply
    bool in_service = false;     // a handler has it
    bool dead = false;
    bool stopped = false;                       // suspended and out of the guest, or never started
    bool forwarded = false;                     // the exit that waits goes to the base
    ExitClass exit_class = ExitClass::startup;  // of the last exit
    // Ticks for which it, or the handler that it had called, was ready and another had the core.
    std::uint64_t waited = 0;
};
[[nodiscard]] inline Result<VcpuStatus> query_vcpu(Slot vcpu) {
    raw::Registers r;
    r.rdi = vcpu, r.rsi = static_cast<std::uint64_t>(VcpuOp::query);
    const Status s = raw::system_call(Syscall::vcpu_ctl, r);
    if (s != Status::ok) return s;
    return VcpuStatus{r.rdi,
                      (r.rsi & vcpu_flag::pending) != 0,
                      (r.rsi & vcpu_flag::in_service) != 0,
                      (r.rsi & vcpu_flag::dead) != 0,
                      (r.rsi & vcpu_flag::stopped) != 0,
                      (r.rsi & vcpu_flag::forwarded) != 0,
                      static_cast<ExitClass>(r.rsi >> vcpu_flag::class_shift & 0xff),
                      r.rdx};
}
struct ExitCount {
    std::uint64_t exits = 0;
    std::uint64_t ticks = 0;  // from each exit to its reply; of one that waits, up to now
};
struct ExitCounts {
    ExitCount of[counted_at_once];
};
// Exits of the class and of those that follow, since the vCPU was created.
[[nodiscard]] inline Result<ExitCounts> count_exits(Slot vcpu, unsigned first) {
    raw::Registers r{vcpu, static_cast<std::uint64_t>(VcpuOp::count_exits), first};
    const Status s = raw::system_call(Syscall::vcpu_ctl, r);
    if (s != Status::ok) return s;
    return ExitCounts{{{r.rdi, r.rsi}, {r.rdx, r.r8}, {r.r9, r.r10}, {r.r12, r.r13}}};
}
// The same of those that the kernel answers, by KernelExit.
struct KernelExitCounts {
    std::uint64_t of[kernel_exits];
};
[[nodiscard]] inline Result<KernelExitCounts> count_kernel_exits(Slot vcpu) {
    raw::Registers r{vcpu, static_cast<std::uint64_t>(VcpuOp::count_exits), first_kernel_exit};
    const Status s = raw::system_call(Syscall::vcpu_ctl, r);
    if (s != Status::ok) return s;
    return KernelExitCounts{{r.rdi, r.rsi, r.rdx}};
}
[[nodiscard]] inline Status bind_row(Slot vcpu, ExitClass c, Slot portal, std::uint64_t wanted) {
    return vcpu_ctl(vcpu, VcpuOp::bind_row, static_cast<std::uint64_t>(c), portal, wanted);
}
[[nodiscard]] inline Status thread_ctl(Slot thread, ThreadOp op, std::uint64_t a0 = 0,
                                       std::uint64_t a1 = 0, std::uint64_t a2 = 0) {
    return raw::simple(Syscall::thread_ctl, thread, static_cast<std::uint64_t>(op), a0, a1, a2);
}
[[nodiscard]] inline Result<std::uint64_t> read_register(Slot thread, ThreadRegister which) {
    raw::Registers r{thread, static_cast<std::uint64_t>(ThreadOp::read_registers),
                     static_cast<std::uint64_t>(which)};
    const Status s = raw::system_call(Syscall::thread_ctl, r);
    if (s != Status::ok) return s;
    return r.rdi;
}
inline void yield() { (void)thread_ctl(no_slot, ThreadOp::yield); }
[[nodiscard]] inline Status domain_ctl(Slot domain, DomainOp op, std::uint64_t a0,
                                       std::uint64_t a1 = 0) {
    return raw::simple(Syscall::domain_ctl, domain, static_cast<std::uint64_t>(op), a0, a1);
}
[[nodiscard]] inline Status irq_ctl(Slot irq, IrqOp op, Slot event = no_slot,
                                    std::uint64_t bits = 0) {
    return raw::simple(Syscall::irq_ctl, irq, static_cast<std::uint64_t>(op), event, bits);
}

// That core takes it from now on.
[[nodiscard]] inline Status move_message(Slot irq, Slot core) {
    return raw::simple(Syscall::irq_ctl, irq, static_cast<std::uint64_t>(IrqOp::move), core);
}
struct MessageAddress {
    std::uint64_t address = 0, data = 0;  // that a device writes
};
[[nodiscard]] inline Result<MessageAddress> query_message(Slot irq) {
    raw::Registers r{irq, static_cast<std::uint64_t>(IrqOp::query)};
    const Status s = raw::system_call(Syscall::irq_ctl, r);
    if (s != Status::ok) return s;
    return MessageAddress{r.rdi, r.rsi};
}
[[nodiscard]] inline Status create_message(Slot destination, Slot storage, Slot device,
                                           unsigned index, Slot core) {
    return create(ObjectType::irq, destination, storage, device, index, core);
}
[[nodiscard]] inline Status device_ctl(Slot device, DeviceOp op, Slot space = no_slot) {
    return raw::simple(Syscall::device_ctl, device, static_cast<std::uint64_t>(op), space);
}

struct CoreInfo {
    std::uint64_t interrupts = 0;  // that the kernel has taken on it so far
    std::uint64_t apic_id = 0, node = 0;
    std::int64_t tsc_offset = 0;  // ticks, against core 0
    std::uint64_t tsc_error = 0;
    std::uint64_t flags = 0;  // core_flag
};
[[nodiscard]] inline Result<CoreInfo> query_core(Slot core) {
    raw::Registers r{core, static_cast<std::uint64_t>(CoreOp::query)};
    const Status s = raw::system_call(Syscall::core_ctl, r);
    if (s != Status::ok) return s;
    return CoreInfo{r.rdi, r.rsi, r.rdx, static_cast<std::int64_t>(r.r8), r.r9, r.r10};
}
// Interrupts that the kernel has taken on the core so far.
[[nodiscard]] inline Result<std::uint64_t> count_interrupts(Slot core) {
    const Result<CoreInfo> info = query_core(core);
    if (!info) return info.status();
    return info->interrupts;
}

struct CoreEvents {
    std::uint64_t stray_interrupts = 0, nmis = 0, machine_checks = 0, device_messages = 0;
};
[[nodiscard]] inline Result<CoreEvents> count_events(Slot core) {
    raw::Registers r{core, static_cast<std::uint64_t>(CoreOp::events)};
    const Status s = raw::system_call(Syscall::core_ctl, r);
    if (s != Status::ok) return s;
    return CoreEvents{r.rdi, r.rsi, r.rdx, r.r8};
}

struct ExtentInfo {
    std::uint64_t base = 0, size = 0;
    MemoryType type = MemoryType::ram;
};
[[nodiscard]] inline Result<ExtentInfo> query_memory(Slot memory) {
    raw::Registers r{memory, static_cast<std::uint64_t>(MemoryOp::query)};
    const Status s = raw::system_call(Syscall::memory_ctl, r);
    if (s != Status::ok) return s;
    return ExtentInfo{r.rdi, r.rsi, static_cast<MemoryType>(r.rdx)};
}
// All ones if the port may not be read.
inline std::uint32_t port_read(Slot ports, std::uint16_t port, unsigned width) {
    raw::Registers r{ports, static_cast<std::uint64_t>(MemoryOp::port_read), port, width};
    const Status s = raw::system_call(Syscall::memory_ctl, r);
    return s == Status::ok ? static_cast<std::uint32_t>(r.rdi) : ~0u;
}
inline Status port_write(Slot ports, std::uint16_t port, unsigned width, std::uint32_t value) {
    return raw::simple(Syscall::memory_ctl, ports, static_cast<std::uint64_t>(MemoryOp::port_write),
                       port, width, value);
}
// Bytes of a FIFO, the first one lowest. Without a branch behind the call, for who may die at any of them.
struct PortBytes {
    std::uint64_t bytes[2];
    unsigned count;
};
// Up to `most` of them, as long as a bit of the mask is set in the port `status`. None if they may not be read.
inline PortBytes port_drain(Slot ports, std::uint16_t port, std::uint16_t status, std::uint8_t mask,
                            unsigned most = port_burst) {
    raw::Registers r{ports, static_cast<std::uint64_t>(MemoryOp::port_drain), port, status, mask,
                     most};
    const Status s = raw::system_call(Syscall::memory_ctl, r);
    const std::uint64_t good = -static_cast<std::uint64_t>(s == Status::ok);
    return {{r.rsi, r.rdx}, static_cast<unsigned>(r.rdi & good)};
}
inline Status port_fill(Slot ports, std::uint16_t port, const std::uint64_t (&bytes)[2],
                        unsigned count) {
    raw::Registers r{
        ports, static_cast<std::uint64_t>(MemoryOp::port_fill), port, count, bytes[0], bytes[1]};
    return raw::system_call(Syscall::memory_ctl, r);
}

inline std::uint64_t rdtsc() { return raw::rdtsc(); }

}  // namespace margay
