// The cores of the simulated machine at work: user code on fibers, guests, interrupts and time, around the
// kernel's own code. One host thread plays all cores, one step at a time, so that every run is the same.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "libipc/raw.hpp"
#include "tests/host_node/fiber.hpp"
#include "tests/unit/kernel/fakes/machine.hpp"

namespace margay::host_node {

class Cores {
  public:
    // What user code left its fiber for.
    enum class Reason { system_call, fault, spin };

    // One thread's user code.
    struct UserCode {
        std::unique_ptr<Fiber> fiber;
        Thread* thread;
        std::uint64_t token;  // the thread's instruction pointer, as the kernel sees it
        Reason reason{};
        std::uint64_t vector = 0, error = 0, address = 0;  // of a fault
        bool stuck = false;
    };

    // The machine has been reset; it gets its hooks. One at a time.
    Cores();
    ~Cores();
    Cores(const Cores&) = delete;
    Cores& operator=(const Cores&) = delete;

    // A thread that begins at the address that is returned runs `body` with its first argument.
    std::uint64_t add_program(std::function<void(std::uint64_t)> body);
    // What a guest does from an entry to the next exit, which it leaves in the VMCB.
    std::function<void(Vcpu&)> guest;
    // The entry of a guest that is interrupted before it does anything.
    std::function<void(Vcpu&)> guest_entry;
    // Asked before user code goes on after an entry into the kernel: true, and it fails there.
    std::function<bool(const Thread&)> is_doomed;
    // The same: true, and it runs without end from there on.
    std::function<bool(const Thread&)> is_stuck;
    // What a thread sees instead of the machine's time and processor, if anything.
    std::function<std::optional<std::uint64_t>(const Thread&)> time_of;
    std::function<std::optional<raw::Cpuid>(const Thread&, std::uint32_t leaf,
                                            std::uint32_t subleaf)>
        processor_of;
    // Ticks of the clock per step, and per look at it.
    std::uint64_t step_ticks = 200, look_ticks = 20;
    // Before and after each step of a core: all cores are out of the kernel then.
    std::function<void(unsigned core)> before_step, after_step;

    // What the core has entered goes on until it has entered the next. False: nothing is ready.
    bool step(unsigned core);
    // All cores by turns, time included, until `done`; false if nothing more can happen, or if that
    // takes more rounds.
    bool run(const std::function<bool()>& done, std::uint64_t rounds = 10'000'000);

    // Interrupt line of a device: the kernel will see it unless it is masked.
    void raise(unsigned gsi) { lines_ |= 1ull << gsi; }
    // Who runs on the core, or null.
    Context* running(unsigned core) const { return running_[core]; }

    // Whether that user code can still run.
    static bool is_alive(const Thread* thread, std::uint64_t token);
    // For user code.
    static Thread& this_thread();
    static std::uint64_t this_token();
    // It runs without end: time passes up to the next interrupt.
    static void spin();

  private:
    void run_thread(unsigned core, Thread& t);
    void spin_on(unsigned core);
    void fault(unsigned core, Thread& t, const UserCode& code);
    void run_guest(unsigned core, Vcpu& v);
    void interrupt(unsigned core, std::uint64_t vector);
    std::uint64_t due(unsigned core);
    UserCode& code_of(Thread& t);
    void sweep();

    std::map<std::uint64_t, std::function<void(std::uint64_t)>> programs_;  // by entry address
    std::map<std::uint64_t, UserCode> code_;                                // by token
    std::uint64_t next_token_;
    Context* running_[machine::cores] = {};
    std::uint64_t lines_ = 0;
};

}  // namespace margay::host_node
