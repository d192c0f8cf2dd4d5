// Event: a latched word of bits; the only thing that crosses cores.
#pragma once
#include <atomic>
#include <cstdint>

namespace margay {

struct Context;
struct Core;

struct Event {
    std::atomic<std::uint64_t> bits{0};
    // A thread in wait (set and cleared on its own core), or a bound vCPU.
    std::atomic<Context*> waiter{nullptr};
    // Link in the mailbox of the waiter's core.
    Event* next = nullptr;
    std::atomic<bool> posted{false};

    void destroy();
    // Wakes a waiter on this core with an error.
    void evict();

    // Sets bits and wakes the waiter, on whatever core it is. Takes no lock.
    void signal(std::uint64_t set);
    // On the waiter's core: hands latched bits over.
    void deliver();
    // Takes the latched bits.
    std::uint64_t take() { return bits.exchange(0); }
};

}  // namespace margay
