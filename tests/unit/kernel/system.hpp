// A node with one Domain at its start, as init finds it, and its system calls.
#pragma once
#include <gtest/gtest.h>

#include <initializer_list>

#include "machine.hpp"
#include "ukernel/object/domain.hpp"
#include "ukernel/object/event.hpp"
#include "ukernel/object/irq.hpp"
#include "ukernel/object/space.hpp"

namespace margay {

// Slots of the first Domain.
namespace first {
constexpr Slot domain = 0, thread = 1, irq_control = 2, ports = 3, core0 = 4, core1 = 5;
constexpr Slot ram = 6;     // storage: the machine's RAM, all rights
constexpr Slot big = 7;     // 64 GiB that exist only on paper: for mappings; no right to derive
constexpr Slot device = 8;  // all rights
constexpr Slot core2 = 9;
constexpr Slot free = 10;  // the first empty slot
constexpr Slot event_slot = 40;
constexpr unsigned slots = 160, mappings = 10, pool_pages = 10;
}  // namespace first

constexpr std::uint64_t big_base = 1ull << 36, big_size = 1ull << 36;
constexpr std::uint64_t device_base = 0xf000'0000, device_size = 1 << 24;
constexpr std::uint64_t storage_bytes = 12 << 20;

class System {
  public:
    System();

    Domain* domain;
    Thread* boot;
    HostPhys storage;  // what first::ram covers

    // A system call of a thread, with its registers in the order RDI RSI RDX R8 R9 R10 R12 R13. The
    // thread need not run: it then gets its core for the time of the call, and whoever ran is ready
    // behind it. Repeats what the kernel does in steps until it is done, or so many times.
    Status call(Thread& t, Syscall number, std::initializer_list<std::uint64_t> arguments,
                unsigned entries = 100000);
    Status call(Syscall number, std::initializer_list<std::uint64_t> arguments) {
        return call(*boot, number, arguments);
    }

    // One entry into the kernel by the first thread: true if the call is done, false if the thread is to make
    // it again.
    bool step(Syscall number, std::initializer_list<std::uint64_t> arguments);

    // The thread must be current on its core: the call as the stub makes it, and who runs after it.
    static Context* trap(Thread& t, Syscall number, std::initializer_list<std::uint64_t> arguments);
    // The core goes on: who runs.
    static Context* leave(unsigned core = 0);
    // A guest that runs on this core exits.
    static Context* exit_guest(Vcpu& v, ExitClass exit_class, std::uint64_t detail0 = 0,
                               std::uint64_t detail1 = 0);

    // Carves `bytes` of the storage into a slot.
    void carve(Slot destination, std::uint64_t bytes, std::uint64_t flags = 0);
    void carve_estate(Slot destination, std::uint64_t bytes) {
        carve(destination, bytes, carve_flag::estate);
    }
    // Makes an object in fresh storage: the object's slot is `slot`, its storage's slot + 1.
    void make(ObjectType type, Slot slot, std::uint64_t bytes,
              std::initializer_list<std::uint64_t> arguments = {});
    template <typename T>
    T& object(Slot slot) {
        return *static_cast<T*>(domain->slots[slot].object);
    }

  private:
    std::uint64_t next_;
};

constexpr std::uint64_t pair(std::uint64_t low, std::uint64_t high) { return low | high << 32; }
inline Status status_of(const Thread& t) { return static_cast<Status>(t.gpr[gpr_rax]); }

}  // namespace margay
